"""Cutout: hide one square of each image, after flip and crop; labels stay."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.augmentations.base import Augmentation
from backmix.augmentations.erase import Erase
from backmix.augmentations.share import Share


class Cutout(Augmentation):
    """A square around a point anywhere in the image is filled; it may hang over the border.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017: squares of 16 px
    on CIFAR-10, 8 px on CIFAR-100, 20 px on SVHN, all at 32 px. Places are drawn as
    `backmix.augmentations.erase.Erase` does, the hidden square of the training recipe. torchvision's `RandomErasing` is
    another rule: its boxes lie inside the image, have random areas and ratios, and one is drawn for a whole batch.

    Args:
        side: of the square as a share of the image's shorter side.
        fill_value: what hidden pixels become, in the units of the images; the paper's is 0 after normalisation.
        probability: share of the images with a hidden square (paper: 1).
        generator: source of randomness; torch's global one when None.

    Raises:
        ValueError: for a side or a probability outside 0..1.
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
        """Draw (2, B) int64, row and column of each centre, and (B,) bool, whether there is a square at all."""
        centre = Erase(self.side, generator=self.generator).draw(batch, height, width)
        return centre, self._rand(batch) < self.probability

    def change(self, images: Tensor, draw: tuple[Tensor, Tensor]) -> Tensor:
        """Hide in (B, C, H, W) as drawn; returns a new tensor."""
        centre, given = (each.to(images.device) for each in draw)
        # Whatever the square sets to 0 was hidden; this leaves the fill to us.
        shown = Erase(self.side).apply(torch.ones_like(images[:, :1]), centre) > 0
        return images.where(shown | ~given[:, None, None, None], self.fill_value)

    def part(self, draw: tuple[Tensor, Tensor], share: Share) -> tuple[Tensor, Tensor]:
        """The centres and choices for the images of this process."""
        return share.own(draw[0], -1), share.own(draw[1])
