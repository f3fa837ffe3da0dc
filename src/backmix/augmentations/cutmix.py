"""CutMix pastes a rectangle of another image of the batch and mixes the labels by the area."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from backmix.augmentations.base import draw_beta
from backmix.augmentations.label_mixing import LabelMixing


class CutMixDraw(NamedTuple):
    """The random choices for a batch.

    Attributes:
        partner: The partner of each image, (B,) int64, a permutation.
        share: The share of the area that keeps the image's own pixels, 0..1.
        box: The top, left, bottom and right of the box in pixels, inside the image. Bottom and right are the first
            pixels outside the box.
    """

    partner: Tensor
    share: float
    box: tuple[int, int, int, int]


class CutMix(LabelMixing):
    """An augmentation that shows the partner of each image in a box, the same box for the whole batch.

    Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019.
    Labels become `s y + (1 - s) y[partner]`, where s is the share of the area outside the box. The sides of the box are
    sqrt(1 - lam) of the image's sides, with lam ~ Beta(alpha, alpha). Its centre lies anywhere in the image; a part
    outside the image is cut off, and s is computed from the rest. The `CutMix` of torchvision does the same from the
    global generator, with the previous image as partner and with dense labels, which few objectives take.

    Args:
        alpha: Both parameters of the Beta distribution (paper: 1).
        probability: The share of the batches that are mixed (paper: 0.5 on CIFAR, 1 on ImageNet).
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If alpha is not above 0, or if the probability is outside 0..1.
    """

    name = "cutmix"

    def __init__(
        self, *, alpha: float = 1.0, probability: float = 0.5, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(alpha=alpha, probability=probability, generator=generator)

    def draw(self, batch: int, height: int, width: int, /) -> CutMixDraw | None:
        """Draw for a batch of images of height x width pixels. None: the batch does not change."""
        if self._leaves_batch():
            return None
        side = (1 - draw_beta(self.alpha, 1, self.generator).item()) ** 0.5
        row = int(self._randint(0, height))
        column = int(self._randint(0, width))
        partner = self._randperm(batch)
        # Each end is half the side away, as in the paper, so a box of odd side loses a pixel.
        down, across = int(height * side) // 2, int(width * side) // 2
        top, bottom = max(0, row - down), min(height, row + down)
        left, right = max(0, column - across), min(width, column + across)
        share = 1 - (bottom - top) * (right - left) / (height * width)
        return CutMixDraw(partner, share, (top, left, bottom, right))

    def change(self, images: Tensor, draw: CutMixDraw) -> Tensor:
        """Paste into (B, C, H, W) images as drawn. Return a new tensor."""
        top, left, bottom, right = draw.box
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right][draw.partner.to(images.device)]
        return mixed
