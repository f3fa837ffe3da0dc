"""Mixup blends each image and its label with another image of the batch and its label."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from backmix.augmentations.base import draw_beta
from backmix.augmentations.label_mixing import LabelMixing


class MixupDraw(NamedTuple):
    """The random choices for a batch.

    Attributes:
        partner: The partner of each image, (B,) int64, a permutation.
        share: The share of the images themselves, 0..1.
    """

    partner: Tensor
    share: float


class Mixup(LabelMixing):
    """An augmentation that blends images and labels: `x' = s x + (1 - s) x[partner]`, and labels by the same rule.

    Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018. One s ~ Beta(alpha, alpha)
    is drawn for the batch. The `MixUp` of torchvision draws from the global generator, pairs each image with the
    previous one and returns dense labels, which few objectives take. Here partners are a permutation drawn from the
    generator, and the loss of any objective is weighted.

    Args:
        alpha: Both parameters of the Beta distribution (paper: 1 on CIFAR, 0.2 on ImageNet).
        probability: The share of the batches that are mixed (paper: 1).
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If alpha is not above 0, or if the probability is outside 0..1.
    """

    name = "mixup"

    def __init__(
        self, *, alpha: float = 1.0, probability: float = 1.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(alpha=alpha, probability=probability, generator=generator)

    def draw(self, batch: int, *_: int) -> MixupDraw | None:
        """Draw for a batch. None: the batch does not change."""
        if self._leaves_batch():
            return None
        share = draw_beta(self.alpha, 1, self.generator).item()
        return MixupDraw(self._randperm(batch), share)

    def change(self, images: Tensor, draw: MixupDraw) -> Tensor:
        """Blend (B, C, H, W) images as drawn. Return a new tensor."""
        return images.lerp(images[draw.partner.to(images.device)], 1 - draw.share)
