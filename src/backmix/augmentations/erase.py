"""The hidden square of the training recipe (Cutout), drawn separately for each image of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.mixing.checks import check
from backmix.mixing.draw import device_of


class Erase:
    """A random square of each image that is set to 0, the mid grey of normalised images.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017. The centre of a
    square lies anywhere in the image, so the square may cross the border, as in the paper.

    Args:
        side: The side of the square, as a share of the shorter side of the image.
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If the side is outside 0..1.
    """

    def __init__(self, side: float = 0.375, *, generator: torch.Generator | None = None) -> None:
        check(0 <= side <= 1, f"side is a share of the image's side, 0..1; got {side}")
        self.side = side
        self.generator = generator

    def draw(self, batch: int, height: int, width: int) -> Tensor:
        """Draw the row and column of the centre of each square, (2, B) int64."""
        device = device_of(self.generator)
        row = torch.randint(height, (batch,), generator=self.generator, device=device)
        column = torch.randint(width, (batch,), generator=self.generator, device=device)
        return torch.stack([row, column])

    def apply(self, images: Tensor, centre: Tensor) -> Tensor:
        """Hide the squares around `centre`: (B, C, H, W) -> (B, C, H, W), a new tensor."""
        height, width = images.shape[2:]
        side = round(self.side * min(height, width))
        row, column = (centre.to(images.device) - side // 2)[:, :, None].unbind(0)
        y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
        down, across = (y >= row) & (y < row + side), (x >= column) & (x < column + side)
        return images.clone().masked_fill_((down[:, :, None] & across[:, None, :])[:, None], 0)

    def __call__(self, images: Tensor) -> Tensor:
        """Draw and apply: (B, C, H, W) -> (B, C, H, W)."""
        if images.ndim != 4:
            raise ValueError(f"images must be (B, C, H, W); got {tuple(images.shape)}")
        return self.apply(images, self.draw(len(images), images.shape[2], images.shape[3]))
