"""CutMix: paste a rectangle of another image of the batch, mix the labels by its area."""

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
class CutMixDraw:
    """What chance decides for a batch.

    Attributes:
        partner: (B,) int64, a permutation.
        box: top, left, bottom, right in pixels, inside the image; bottom and right are the first outside the box.
        share: of the image's area that stays its own, 0..1.
    """

    partner: Tensor
    box: tuple[int, int, int, int]
    share: float


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

    name: ClassVar[str] = "cutmix"

    def __init__(
        self, *, alpha: float = 1.0, probability: float = 0.5, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(probability=probability, generator=generator)
        check_positive(self.name, "alpha", alpha)
        self.alpha = alpha

    def draw(self, batch: int, height: int, width: int) -> CutMixDraw | None:
        """Draw for a batch of images of height x width pixels; None: leave it as it is."""
        device = device_of(self.generator)
        if float(torch.rand((), generator=self.generator, device=device)) >= self.probability:
            return None
        side = (1 - draw_beta(self.alpha, 1, self.generator).item()) ** 0.5
        row = int(torch.randint(height, (), generator=self.generator, device=device))
        column = int(torch.randint(width, (), generator=self.generator, device=device))
        partner = torch.randperm(batch, generator=self.generator, device=device)
        # Both ends by half the side, as the paper's: a box of odd side loses a pixel.
        down, across = int(height * side) // 2, int(width * side) // 2
        top, bottom = max(0, row - down), min(height, row + down)
        left, right = max(0, column - across), min(width, column + across)
        share = 1 - (bottom - top) * (right - left) / (height * width)
        return CutMixDraw(partner, (top, left, bottom, right), share)

    def change(self, images: Tensor, draw: CutMixDraw) -> Tensor:
        """Paste into (B, C, H, W) as drawn; returns a new tensor."""
        top, left, bottom, right = draw.box
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right][draw.partner.to(images.device)]
        return mixed

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
        draw = self.draw(len(images), images.shape[2], images.shape[3])
        if draw is None:
            return images.clone()
        self._last = (draw.partner, draw.share)
        return self.change(images, draw)

    def extra_repr(self) -> str:
        """The options, for `print`."""
        return f"alpha={self.alpha}, probability={self.probability}"
