"""Cut and resize pictures to the part that a model sees: a central square, at one size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backmix.data.photo import Photo
from backmix.data.square import central_square


@dataclass(frozen=True)
class Frame:
    """The part of a picture that a model sees: a central square, resized.

    Args:
        image_size: The side S of the resized square in pixels, at least 8.
        crop: The side of the square, as a share of the shorter side of the picture, above 0 and at most 1.
        bicubic: Whether pictures are resized by bicubic interpolation; otherwise by bilinear interpolation.
        at_least: The side in pixels to which files are decoded at least, see `backmix.data.images.open_photo`; None:
            every pixel is decoded.

    Raises:
        ValueError: If a number is out of range.
    """

    image_size: int
    crop: float = 1.0
    bicubic: bool = False
    at_least: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if a number is out of range."""
        if self.image_size < 8:
            raise ValueError(f"image_size is a side in pixels, at least 8; got {self.image_size}")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop is a share of the shorter side, above 0 and at most 1; got {self.crop}")

    def pixels(self, picture: Image.Image | Photo) -> Tensor:
        """Return the square of a photograph, or of an RGB picture of any size, as (3, S, S) uint8."""
        resample = Image.Resampling.BICUBIC if self.bicubic else Image.Resampling.BILINEAR
        if isinstance(picture, Photo):
            picture = picture.upright() if self.crop != 1 else picture
        shown = self._cut(picture) if isinstance(picture, Image.Image) else picture
        square = central_square(shown, self.image_size, resample)
        return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()

    def mask(self, mask: Image.Image) -> Tensor:
        """Return the square of a grey mask, as (S, S) bool, true on the object.

        The mask has the size of its picture. 255 is the object; 128, which means not labelled, counts as background.
        """
        square = central_square(self._cut(mask), self.image_size, Image.Resampling.NEAREST)
        return torch.from_numpy(np.array(square) > 128)

    def _cut(self, picture: Image.Image) -> Image.Image:
        if self.crop == 1:
            return picture
        side = max(1, round(self.crop * min(picture.size)))
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        return picture.crop((left, top, left + side, top + side))
