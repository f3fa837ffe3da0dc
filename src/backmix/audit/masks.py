"""Where the object of each image is, and whether that can be believed: a mask at fault is named, never counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from backmix.audit.frame import Frame
from backmix.data.images import ImageError
from backmix.foregrounds.base import SHARES, ForegroundSource, shrink
from backmix.foregrounds.centre import centre_mask

COVERED = 0.95
"""A mask that covers more than this share of what the model sees leaves no background to speak of."""


class Fault(StrEnum):
    """Why an image cannot be taken apart into object and background."""

    unreadable = "unreadable image"
    missing = "no mask"
    broken = "unreadable mask"
    size = "mask of another size"
    empty = "empty mask"
    dark = "mask with nothing above 128"
    outside = "object outside what the model sees"
    full = "mask covers everything"
    lost = "no object found"


class Masks(Protocol):
    """Says where objects are. `look` may be called from several threads at once."""

    name: str
    estimated: bool

    def look(self, position: int, picture: Image.Image) -> Any:
        """What is kept of an image to tell its mask; small, because many wait at the same time."""

    def tell(self, looks: Sequence[Any]) -> list[Image.Image | Fault]:
        """Masks ("L", 255 on the object) of several images, or why they have none."""


class GivenMasks:
    """Masks that come with the images, or lie beside them.

    Args:
        name: where they come from, for people.
        read: position -> mask, "L", or None where there is none.
    """

    estimated = False

    def __init__(self, name: str, read: Callable[[int], Image.Image | None]) -> None:
        self.name = name
        self._read = read

    def look(self, position: int, picture: Image.Image) -> Image.Image | Fault:
        """See `Masks.look`."""
        try:
            mask = self._read(position)
        except ImageError:
            return Fault.broken
        if mask is None:
            return Fault.missing
        return mask if mask.size == picture.size else Fault.size

    def tell(self, looks: Sequence[Image.Image | Fault]) -> list[Image.Image | Fault]:
        """See `Masks.tell`."""
        return list(looks)


class CentreMasks:
    """The quarter of each picture that is nearest to its middle: what is known of objects before one has looked."""

    name, estimated = "centre", True

    def look(self, position: int, picture: Image.Image) -> Image.Image:
        """See `Masks.look`."""
        return _as_picture(centre_mask(picture.height, picture.width))

    def tell(self, looks: Sequence[Image.Image]) -> list[Image.Image | Fault]:
        """See `Masks.tell`."""
        return list(looks)


class EstimatedBy:
    """Masks from a foreground source; where it finds next to nothing, or next to everything, there is none.

    Args:
        source: see `backmix.foregrounds`.
    """

    estimated = True

    def __init__(self, source: ForegroundSource) -> None:
        self.name = source.name
        self._source = source

    def look(self, position: int, picture: Image.Image) -> Image.Image:
        """See `Masks.look`: the picture at the size that the source works at."""
        return shrink(picture, self._source.working_size)

    def tell(self, looks: Sequence[Image.Image]) -> list[Image.Image | Fault]:
        """See `Masks.tell`."""
        low, high = SHARES
        found = self._source.segment_batch([np.array(picture.convert("RGB")) for picture in looks])
        masks = [one.mask for one in found]
        return [_as_picture(mask) if low <= mask.mean() <= high and mask.any() else Fault.lost for mask in masks]


def judge(mask: Image.Image, frame: Frame) -> Tensor | Fault:
    """The mask in what the model sees, (S, S) bool, or what is wrong with it."""
    seen = frame.mask(mask)
    share = float(seen.float().mean())
    if share == 0:
        most = int(np.asarray(mask).max())
        return Fault.outside if most > 128 else Fault.dark if most else Fault.empty
    return Fault.full if share > COVERED else seen


def _as_picture(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)
