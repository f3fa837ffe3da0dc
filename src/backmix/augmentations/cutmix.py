"""CutMix: paste a rectangle of another image of the batch, mix the labels by its area."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from backmix.augmentations.base import draw_beta
from backmix.augmentations.label_mixing import LabelMixing


class CutMixDraw(NamedTuple):
    """What chance decides for a batch.

    Attributes:
        partner: (B,) int64, a permutation.
        share: of the image's area that stays its own, 0..1.
        box: top, left, bottom, right in pixels, inside the image; bottom and right are the first outside the box.
    """

    partner: Tensor
    share: float
    box: tuple[int, int, int, int]


class CutMix(LabelMixing):
    """One box for the batch shows the partners; `s y + (1 - s) y[partner]` with s the area outside the box.

    Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019. The
    box takes sqrt(1 - lam) of each side, lam ~ Beta(alpha, alpha); its centre lies anywhere in the image, what hangs
    over the border is cut off, and the labels go by what is left of it. torchvision's `CutMix` does the same from the
    global generator, with each image's predecessor as partner and dense labels, which few objectives take.

    Args:
        alpha: of the Beta distribution (paper: 1).
        probability: share of the batches that are mixed (paper: 0.5 on CIFAR, 1 on ImageNet).
        generator: source of randomness; torch's global one when None.

    Raises:
        ValueError: for an alpha of 0 or less or a probability outside 0..1.
    """

    name = "cutmix"

    def __init__(
        self, *, alpha: float = 1.0, probability: float = 0.5, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(alpha=alpha, probability=probability, generator=generator)

    def draw(self, batch: int, height: int, width: int, /) -> CutMixDraw | None:
        """Draw for a batch of images of height x width pixels; None: leave it as it is."""
        if self._leaves_batch():
            return None
        side = (1 - draw_beta(self.alpha, 1, self.generator).item()) ** 0.5
        row = int(self._randint(0, height))
        column = int(self._randint(0, width))
        partner = self._randperm(batch)
        # Both ends by half the side, as the paper's: a box of odd side loses a pixel.
        down, across = int(height * side) // 2, int(width * side) // 2
        top, bottom = max(0, row - down), min(height, row + down)
        left, right = max(0, column - across), min(width, column + across)
        share = 1 - (bottom - top) * (right - left) / (height * width)
        return CutMixDraw(partner, share, (top, left, bottom, right))

    def change(self, images: Tensor, draw: CutMixDraw) -> Tensor:
        """Paste into (B, C, H, W) as drawn; returns a new tensor."""
        top, left, bottom, right = draw.box
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right][draw.partner.to(images.device)]
        return mixed
