"""Cutout hides one square of each image, after flip and crop. Labels do not change."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.augmentations.base import Augmentation
from backmix.augmentations.erase import Erase
from backmix.augmentations.share import ProcessPart


class Cutout(Augmentation):
    """An augmentation that fills a square around a random point of each image. The square may cross the border.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017: squares of 16 px
    on CIFAR-10, 8 px on CIFAR-100, 20 px on SVHN, all at 32 px. Places are drawn by
    `backmix.augmentations.erase.Erase`, the hidden square of the training recipe. The `RandomErasing` of torchvision
    differs: its boxes lie inside the image and have random areas and ratios, and one box is drawn for a whole batch.

    Args:
        side: The side of the square, as a share of the shorter side of the image.
        fill_value: The value of hidden pixels, in the units of the images (paper: 0 after normalisation).
        probability: The share of the images that get a hidden square (paper: 1).
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If the side or the probability is outside 0..1.
    """

    name = "cutout"
    options = ("side", "fill_value", "probability")
    after_crop = True
    looks_at_others = False

    def __init__(
        self,
        *,
        side: float = 0.5,
        fill_value: float = 0.0,
        probability: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(probability=probability, generator=generator)
        self._check(0 <= side <= 1, f"side is a share of the image's shorter side, 0..1; got {side}")
        self.side = side
        self.fill_value = fill_value

    def draw(self, batch: int, height: int, width: int, /) -> tuple[Tensor, Tensor]:
        """Draw the row and column of each centre, (2, B) int64, and which images get a square, (B,) bool."""
        centre = Erase(self.side, generator=self.generator).draw(batch, height, width)
        return centre, self._rand(batch) < self.probability

    def change(self, images: Tensor, draw: tuple[Tensor, Tensor]) -> Tensor:
        """Hide squares of (B, C, H, W) images as drawn. Return a new tensor."""
        centre, given = (each.to(images.device) for each in draw)
        # `Erase` always fills with 0. Applied to ones it gives the hidden pixels, which get `fill_value` here.
        shown = Erase(self.side).apply(torch.ones_like(images[:, :1]), centre) > 0
        return images.where(shown | ~given[:, None, None, None], self.fill_value)

    def part(self, draw: tuple[Tensor, Tensor], share: ProcessPart) -> tuple[Tensor, Tensor]:
        """Return the centres and choices for the images of this process."""
        return share.own(draw[0], -1), share.own(draw[1])
