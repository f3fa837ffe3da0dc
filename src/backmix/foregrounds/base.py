"""The base class of foreground estimators, which take a picture and return a mask and a soft map of its size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from backmix.data.photo import Photo
from backmix.foregrounds.centre import centre_mask
from backmix.mixing.checks import check

Pixels = npt.NDArray[np.uint8]
Soft = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SHARES = (0.002, 0.95)
"""The smallest and the largest share of the picture that a mask may cover; other masks are replaced."""


class Segmentation(NamedTuple):
    """The result of an estimator for one picture.

    Attributes:
        soft: The soft map, (h, w) float32 in 0..1, higher where the object is more likely.
        mask: The mask, (h, w) bool, true on the object.
    """

    soft: Soft
    mask: Mask


class ForegroundSource(ABC):
    """The base class of foreground estimators.

    An estimator works on a copy of the picture that is scaled down to `working_size`, and its results are scaled back
    up. A mask that covers under 0.2 % or over 95 % of the copy is replaced by the quarter of the picture that is
    nearest to its middle. So no mask is empty, and no mask covers all of a picture of two pixels or more. Several
    threads may call it at once; the same picture gives the same result.

    Args:
        working_size: The longer side in pixels to which larger pictures are scaled down.

    Attributes:
        name: The name of the estimator, as in `FOREGROUND_SOURCES`.

    Raises:
        ValueError: If the working size is under 16.
    """

    name = "foreground"

    def __init__(self, *, working_size: int = 128) -> None:
        check(working_size >= 16, f"{self.name}: working_size is a side in pixels, at least 16; got {working_size}")
        self.working_size = working_size

    @abstractmethod
    def segment(self, pixels: Pixels) -> Segmentation:
        """Find the object in (h, w, 3) uint8 pixels of the working size. The mask may still be empty or full."""

    def segment_batch(self, batch: Sequence[Pixels]) -> list[Segmentation]:
        """Find the objects in several pictures: one after the other, unless an estimator has a faster way."""
        return [self.segment(pixels) for pixels in batch]

    def estimate(self, picture: Image.Image) -> Mask:
        """Return the mask of a picture of any size and mode, (H, W) bool, true on the object."""
        return self.estimate_batch([picture])[0]

    def estimate_batch(self, pictures: Sequence[Image.Image]) -> list[Mask]:
        """Return the masks of several pictures, each in the size of its picture; see `estimate`."""
        found = self.segment_batch([self._pixels(picture) for picture in pictures])
        masks = []
        for picture, segmentation in zip(pictures, found, strict=True):
            mask = believable(segmentation.mask)
            masks.append(enlarge_mask(mask, picture.size))
        return masks

    def saliency(self, picture: Image.Image) -> Soft:
        """Return the soft map of a picture, (H, W) float32 in 0..1, higher where the object is more likely."""
        soft = self.segment_batch([self._pixels(picture)])[0].soft
        if soft.shape == (picture.height, picture.width):
            return soft
        large = np.asarray(Image.fromarray(soft).resize(picture.size, Image.Resampling.BILINEAR))
        return large.clip(0.0, 1.0)

    def __call__(self, picture: Image.Image) -> Mask:
        """Do the same as `estimate`."""
        return self.estimate(picture)

    def _pixels(self, picture: Image.Image) -> Pixels:
        return np.array(shrink(picture, self.working_size).convert("RGB"))


def shrink(picture: Image.Image | Photo, size: int) -> Image.Image:
    """Scale a picture down until its longer side has `size` pixels; a smaller picture does not change."""
    width, height = picture.size
    scale = size / max(width, height)
    if scale >= 1:
        return picture.upright() if isinstance(picture, Photo) else picture
    small = max(1, round(width * scale)), max(1, round(height * scale))
    if isinstance(picture, Photo):
        return picture.resized(small)
    return picture.convert("RGB").resize(small, Image.Resampling.BILINEAR)


def enlarge_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Scale a mask, (h, w) bool, to the (width, height) of a picture by the nearest pixel."""
    if mask.shape == (size[1], size[0]):
        return mask
    large = Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(large) > 0


def believable(mask: Mask) -> Mask:
    """Return the mask, or the middle of the picture if the mask covers a share outside `SHARES`."""
    low, high = SHARES
    return mask if mask.any() and low <= mask.mean() <= high else centre_mask(*mask.shape)
