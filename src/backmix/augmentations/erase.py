"""Cutout: hide one square of each image of a batch, drawn for each image on its own."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.mixing.checks import check
from backmix.mixing.draw import device_of


class Erase:
    """Set a square of each image to 0, mid grey of normalised images; its centre lies anywhere in the image.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017. A square may hang
    over the border, as in the paper.

    Args:
        side: side of the square as a share of the image's shorter side.
        generator: source of randomness; torch's global one when None.

    Raises:
        ValueError: for a side outside 0..1.
    """

    def __init__(self, side: float = 0.375, *, generator: torch.Generator | None = None) -> None:
        check(0 <= side <= 1, f"side is a share of the image's side, 0..1; got {side}")
        self.side = side
        self.generator = generator

    def draw(self, batch: int, height: int, width: int) -> Tensor:
        """Draw (2, B) int64: row and column of the centre of each square."""
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
