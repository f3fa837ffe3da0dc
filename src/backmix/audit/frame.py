"""What of a picture a model sees: a central square, at one size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backmix.data.square import central_square


@dataclass(frozen=True)
class Frame:
    """A central square of a picture, resized.

    Args:
        image_size: side S in pixels, at least 8.
        crop: side of the square as a share of the picture's shorter side, above 0, at most 1.
        bicubic: whether pictures are resized bicubically instead of bilinearly.

    Raises:
        ValueError: for numbers out of range.
    """

    image_size: int
    crop: float = 1.0
    bicubic: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that make no picture."""
        if self.image_size < 8:
            raise ValueError(f"image_size is a side in pixels, at least 8; got {self.image_size}")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop is a share of the shorter side, above 0 and at most 1; got {self.crop}")

    def pixels(self, picture: Image.Image) -> Tensor:
        """RGB picture of any size -> (3, S, S) uint8."""
        resample = Image.Resampling.BICUBIC if self.bicubic else Image.Resampling.BILINEAR
        square = central_square(self._cut(picture), self.image_size, resample)
        return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()

    def mask(self, mask: Image.Image) -> Tensor:
        """Grey mask of the size of its picture, 255 = object -> (S, S) bool; 128, not labelled, is background."""
        square = central_square(self._cut(mask), self.image_size, Image.Resampling.NEAREST)
        return torch.from_numpy(np.array(square) > 128)

    def _cut(self, picture: Image.Image) -> Image.Image:
        if self.crop == 1:
            return picture
        side = max(1, round(self.crop * min(picture.size)))
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        return picture.crop((left, top, left + side, top + side))
