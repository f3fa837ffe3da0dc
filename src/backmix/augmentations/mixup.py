"""Mixup: blend each image and its label with those of another image of the batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from backmix.augmentations.base import draw_beta
from backmix.augmentations.label_mixing import LabelMixing


class MixupDraw(NamedTuple):
    """What chance decides for a batch: partners (B,) int64, a permutation, and the images' own share in 0..1."""

    partner: Tensor
    share: float


class Mixup(LabelMixing):
    """`x' = s x + (1 - s) x[partner]`, labels alike; s ~ Beta(alpha, alpha), one for the batch.

    Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018. torchvision's `MixUp`
    draws from the global generator, pairs each image with the one before it and returns dense labels, which few
    objectives take; here partners are a permutation drawn from the generator, and any objective is weighted.

    Args:
        alpha: of the Beta distribution (paper: 1 on CIFAR, 0.2 on ImageNet).
        probability: share of the batches that are mixed (paper: 1).
        generator: source of randomness; torch's global one when None.

    Raises:
        ValueError: for an alpha of 0 or less or a probability outside 0..1.
    """

    name = "mixup"

    def __init__(
        self, *, alpha: float = 1.0, probability: float = 1.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(alpha=alpha, probability=probability, generator=generator)

    def draw(self, batch: int, *_: int) -> MixupDraw | None:
        """Draw for a batch; None: leave it as it is."""
        if self._leaves_batch():
            return None
        share = draw_beta(self.alpha, 1, self.generator).item()
        return MixupDraw(self._randperm(batch), share)

    def change(self, images: Tensor, draw: MixupDraw) -> Tensor:
        """Blend (B, C, H, W) as drawn; returns a new tensor."""
        return images.lerp(images[draw.partner.to(images.device)], 1 - draw.share)
