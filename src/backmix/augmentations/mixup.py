"""Mixup: blend each image and its label with those of another image of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from backmix.augmentations.check import check_images, check_positive
from backmix.augmentations.drawing import device_of, draw_beta
from backmix.augmentations.label_mixing import LabelMixing
from backmix.mixing import View


@dataclass(frozen=True)
class MixupDraw:
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

    name: ClassVar[str] = "mixup"

    def __init__(
        self, *, alpha: float = 1.0, probability: float = 1.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(probability=probability, generator=generator)
        check_positive(self.name, "alpha", alpha)
        self.alpha = alpha

    def draw(self, batch: int) -> MixupDraw | None:
        """Draw for a batch; None: leave it as it is."""
        device = device_of(self.generator)
        if float(torch.rand((), generator=self.generator, device=device)) >= self.probability:
            return None
        share = draw_beta(self.alpha, 1, self.generator).item()
        return MixupDraw(torch.randperm(batch, generator=self.generator, device=device), share)

    def change(self, images: Tensor, draw: MixupDraw) -> Tensor:
        """Blend (B, C, H, W) as drawn; returns a new tensor."""
        return images.lerp(images[draw.partner.to(images.device)], 1 - draw.share)

    def forward(
        self,
        images: Tensor,
        index: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        masks: Tensor | None = None,
        view: View | None = None,
    ) -> Tensor:
        """Draw and change: (B, C, H, W) -> (B, C, H, W)."""
        self._last = None
        if not self.training:
            return images
        check_images(self.name, images)
        draw = self.draw(len(images))
        if draw is None:
            return images.clone()
        self._last = (draw.partner, draw.share)
        return self.change(images, draw)

    def extra_repr(self) -> str:
        """The options, for `print`."""
        return f"alpha={self.alpha}, probability={self.probability}"
