"""What mixup and CutMix share: images change together with their labels."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.augmentations.base import Augmentation, Targets


class LabelMixing(Augmentation):
    """An augmentation that mixes each image with a partner, and the labels by the same share, one for the batch.

    Its draw begins with the partners, (B,) int64, and the images' own share. It belongs before flip and crop: there a
    step mixes once, whatever number of crops the method looks at, so that all of them have the same targets.

    Args:
        alpha: shares come from Beta(alpha, alpha).
        probability: share of the batches that are mixed.
        generator: source of randomness; torch's global one when None.

    Raises:
        ValueError: for an alpha of 0 or less or a probability outside 0..1.
    """

    options = ("alpha", "probability")
    mixes_labels = True

    def __init__(self, *, alpha: float, probability: float, generator: torch.Generator | None = None) -> None:
        super().__init__(probability=probability, generator=generator)
        self._check(alpha > 0, f"alpha is above 0; got {alpha}")
        self.alpha = alpha

    def moved(self) -> Tensor | None:
        """All of the batch changed last, (B,) bool, where partners outweigh the images themselves; None otherwise.

        Such a picture shows its own object hardly or not at all, so it cannot tell the foreground bank where that is.
        """
        if self._last is None or self._last[1] >= 0.5:
            return None
        return torch.ones_like(self._last[0], dtype=torch.bool)

    def targets(self, labels: Tensor) -> Targets:
        """Own and partners' labels of the batch changed last, with their shares: (B,) int64 -> two pairs, or one."""
        if self._last is None:
            return ((labels, 1.0),)
        partner, share, *_ = self._last
        if labels.shape != partner.shape:
            raise ValueError(
                f"{self.name}: targets belong to the batch changed last, of {len(partner)} images; "
                f"got labels of shape {tuple(labels.shape)}"
            )
        return ((labels, share), (labels[partner.to(labels.device)], 1 - share))
