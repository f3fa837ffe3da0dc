"""Random brightness, contrast and saturation, drawn separately for each image of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.mixing.checks import check
from backmix.mixing.draw import device_of


class ColourJitter:
    """A random change of the saturation, contrast and brightness of each image by up to `strength`.

    The similar transform of torchvision draws once for a whole batch; this one draws for each image, on the device.

    Args:
        strength: Saturation and contrast are multiplied by 1 - strength .. 1 + strength, and up to `strength` is added
            to or subtracted from all pixels, in units of the normalised image.
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If the strength is outside 0..1.
    """

    def __init__(self, strength: float = 0.3, *, generator: torch.Generator | None = None) -> None:
        check(0 <= strength <= 1, f"strength lies in 0..1; got {strength}")
        self.strength = strength
        self.generator = generator

    def draw(self, batch: int) -> Tensor:
        """Draw (3, B): the factors of saturation and of contrast, and the brightness to add."""
        device = device_of(self.generator)
        change = self.strength * (2 * torch.rand(3, batch, generator=self.generator, device=device) - 1)
        return change + torch.tensor([1.0, 1.0, 0.0], device=device)[:, None]

    def apply(self, images: Tensor, change: Tensor) -> Tensor:
        """Change (B, C, H, W) float images as drawn. Return a new tensor of the same memory layout."""
        saturation, contrast, brightness = change.to(images.device)[:, :, None, None, None].unbind(0)
        grey = images.mean(1, keepdim=True)
        mean = images.mean((1, 2, 3), keepdim=True)
        # y = grey + s (x - grey), then mean + c (y - mean) + b: one pass over the images for x and one for grey.
        return images * (saturation * contrast) + (
            grey * ((1 - saturation) * contrast) + mean * (1 - contrast) + brightness
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Draw and apply: (B, C, H, W) -> (B, C, H, W)."""
        if images.ndim != 4 or not images.is_floating_point():
            raise ValueError(f"images must be (B, C, H, W) float; got {tuple(images.shape)} {images.dtype}")
        return self.apply(images, self.draw(len(images)))
