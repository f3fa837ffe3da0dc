"""Turn a picture into the input of a network, in the same way for training, prediction and export."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backmix.data.photo import DECODING, Photo, side_to_read
from backmix.data.square import central_square
from backmix.mixing.checks import check

MEAN = (0.5, 0.5, 0.5)  # The BackMix release normalises to -2..2, so that 0 is mid grey.
STD = (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class Preprocess:
    """The preprocessing: resize the shorter side to `image_size`, cut out the central square, then normalise.

    Args:
        image_size: The side S in pixels.
        mean: The mean of each channel, of pixels in 0..1.
        std: The standard deviation of each channel, of pixels in 0..1.
        decoding: The version of decoding, see `backmix.data.photo`: 1 for every pixel of a file, 2 for no more than are
            wanted.
    """

    image_size: int
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    decoding: int = DECODING

    def __post_init__(self) -> None:
        """Raise ValueError if the numbers are out of range."""
        check(self.image_size >= 8, f"image_size is a side in pixels, at least 8; got {self.image_size}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"mean and std need three numbers, std above 0; got {self.mean}, {self.std}")
        side_to_read(self.image_size, self.decoding)

    @property
    def at_least(self) -> int | None:
        """The side in pixels to which a file is decoded at least, see `backmix.data.images.open_photo`."""
        return side_to_read(self.image_size, self.decoding)

    def decode(self, image: Image.Image | Photo) -> Tensor:
        """Return a photograph that was read with `at_least`, or an RGB picture of any size, as (3, S, S) uint8."""
        return torch.from_numpy(np.array(central_square(image, self.image_size))).permute(2, 0, 1)

    def decode_mask(self, mask: Image.Image) -> Tensor:
        """Return a grey mask of the size of its picture, 255 on the object, as (S, S) bool.

        Values up to 128 are background. The value 128 marks pixels that nobody labelled; around an object, most of
        them are background.
        """
        return torch.from_numpy(np.array(central_square(mask, self.image_size, Image.Resampling.NEAREST)) > 128)

    def normalise(self, images: Tensor) -> Tensor:
        """Return (B, 3, S, S) uint8 images as float32 of mean 0, channels last in memory.

        Raises:
            ValueError: If the images have another dtype, because they may be scaled already.
        """
        if images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8, as `decode` makes them; got {images.dtype}")
        batch, _, height, width = images.shape
        # One operation handles a row of pixels, channels last. Operations on single channels are not vectorised.
        mean, std = (torch.tensor(each, device=images.device).repeat(width) for each in (self.mean, self.std))
        # This computes x / (255 std) - mean / std in two passes over one buffer instead of with four buffers.
        scaled = images.to(torch.float32, memory_format=torch.channels_last)
        rows = scaled.permute(0, 2, 3, 1).view(batch, height, width * 3)
        rows.mul_(1 / (255 * std)).sub_(mean / std)
        return scaled

    def denormalise(self, images: Tensor) -> Tensor:
        """Return normalised images (B, 3, S, S) float as the nearest uint8, which undoes `normalise`."""
        mean, std = (torch.tensor(each, device=images.device)[:, None, None] for each in (self.mean, self.std))
        return ((images * std + mean) * 255).round_().clamp_(0, 255).to(torch.uint8)

    @property
    def grey(self) -> float:
        """Mid grey in normalised units, as the mean over the channels."""
        return float(np.mean([(0.5 - m) / s for m, s in zip(self.mean, self.std, strict=True)]))
