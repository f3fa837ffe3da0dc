"""Find the mask of each object and check it. A faulty mask is reported and not used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from backmix.audit.frame import Frame
from backmix.data.images import ImageError
from backmix.data.photo import GAP, Photo
from backmix.foregrounds.base import SHARES, ForegroundSource, shrink
from backmix.foregrounds.centre import centre_mask

COVERED = 0.95
"""The share of the visible square above which a mask leaves too little background."""


class Fault(StrEnum):
    """The reason why an image cannot be separated into object and background."""

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
    """A source of object masks. Several threads may call `look` at the same time."""

    name: str
    estimated: bool
    at_least: int
    """The side in pixels to which pictures are decoded at least for `look`; 0 if it does not look at the pixels."""

    def look(self, position: int, picture: Photo) -> Any:
        """Return the data from which `tell` makes the mask of an image. It is small, because many are kept at once."""

    def tell(self, looks: Sequence[Any]) -> list[Image.Image | Fault]:
        """Return the masks (mode "L", 255 on the object) of several images, or a `Fault` for an image without one."""


class GivenMasks:
    """Masks that come with the images, or lie beside them.

    Args:
        name: The origin of the masks, as people read it.
        read: A function that returns the mask at a position, in mode "L", or None if there is none.
    """

    estimated, at_least = False, 0

    def __init__(self, name: str, read: Callable[[int], Image.Image | None]) -> None:
        self.name = name
        self._read = read

    def look(self, position: int, picture: Photo) -> Image.Image | Fault:
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
    """Masks that cover the quarter of each picture nearest to its middle, without a look at the picture."""

    name, estimated, at_least = "centre", True, 0

    def look(self, position: int, picture: Photo) -> Image.Image:
        """See `Masks.look`."""
        return _as_picture(centre_mask(picture.height, picture.width))

    def tell(self, looks: Sequence[Image.Image]) -> list[Image.Image | Fault]:
        """See `Masks.tell`."""
        return list(looks)


class EstimatedBy:
    """Masks from a foreground source. An image has no mask if the source finds almost nothing or almost everything.

    Args:
        source: The foreground source, see `backmix.foregrounds`.
    """

    estimated = True

    def __init__(self, source: ForegroundSource) -> None:
        self.name = source.name
        self._source = source
        self.at_least = GAP * source.working_size

    def look(self, position: int, picture: Photo) -> Image.Image:
        """Return the picture at the working size of the source, see `Masks.look`."""
        return shrink(picture, self._source.working_size)

    def tell(self, looks: Sequence[Image.Image]) -> list[Image.Image | Fault]:
        """See `Masks.tell`."""
        low, high = SHARES
        found = self._source.segment_batch([np.array(picture.convert("RGB")) for picture in looks])
        masks = [one.mask for one in found]
        return [_as_picture(mask) if low <= mask.mean() <= high and mask.any() else Fault.lost for mask in masks]


def judge(mask: Image.Image, frame: Frame) -> Tensor | Fault:
    """Return the part of a mask that the model sees, (S, S) bool, or its `Fault`."""
    seen = frame.mask(mask)
    share = float(seen.float().mean())
    if share == 0:
        most = int(np.asarray(mask).max())
        return Fault.outside if most > 128 else Fault.dark if most else Fault.empty
    return Fault.full if share > COVERED else seen


def _as_picture(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)
