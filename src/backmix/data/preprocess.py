"""From a picture to the pixels a network was trained on, the same at training, prediction and export."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backmix.data.square import central_square
from backmix.mixing.checks import check

MEAN = (0.5, 0.5, 0.5)  # The BackMix release normalises to -2..2, so that 0 is mid grey.
STD = (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class Preprocess:
    """Shorter side to `image_size`, central square, then normalisation.

    Args:
        image_size: side S in pixels.
        mean: mean per channel, of pixels scaled to 0..1.
        std: standard deviation per channel, likewise.
    """

    image_size: int
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    def __post_init__(self) -> None:
        """Refuse numbers that make no picture."""
        check(self.image_size >= 8, f"image_size is a side in pixels, at least 8; got {self.image_size}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"mean and std need three numbers, std above 0; got {self.mean}, {self.std}")

    def decode(self, image: Image.Image) -> Tensor:
        """RGB picture of any size -> (3, S, S) uint8."""
        return torch.from_numpy(np.array(central_square(image, self.image_size))).permute(2, 0, 1)

    def decode_mask(self, mask: Image.Image) -> Tensor:
        """Grey mask of the size of its picture, 255 = object -> (S, S) bool; values up to 127 and 128 are background.

        128 marks pixels nobody labelled; where they surround an object they mostly are background.
        """
        return torch.from_numpy(np.array(central_square(mask, self.image_size, Image.Resampling.NEAREST)) > 128)

    def normalise(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 -> float32 of mean 0, channels last in memory.

        Raises:
            ValueError: for pixels of another dtype, which may be scaled already.
        """
        if images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8, as `decode` makes them; got {images.dtype}")
        batch, _, height, width = images.shape
        # For a row of pixels at a time, whose channels come last: one by one they are not vectorised.
        mean, std = (torch.tensor(each, device=images.device).repeat(width) for each in (self.mean, self.std))
        # x / (255 std) - mean / std in two passes over one buffer instead of four buffers.
        scaled = images.to(torch.float32, memory_format=torch.channels_last)
        rows = scaled.permute(0, 2, 3, 1).view(batch, height, width * 3)
        rows.mul_(1 / (255 * std)).sub_(mean / std)
        return scaled

    @property
    def grey(self) -> float:
        """Mid grey in normalised units, the mean over channels."""
        return float(np.mean([(0.5 - m) / s for m, s in zip(self.mean, self.std, strict=True)]))
