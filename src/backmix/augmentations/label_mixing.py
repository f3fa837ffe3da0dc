"""What mixup and CutMix share: images change together with their labels."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from backmix.augmentations.base import Augmentation, Targets
from backmix.augmentations.check import check_probability


class LabelMixing(Augmentation):
    """An augmentation that mixes each image with a partner, and the labels by the same share, one for the batch.

    It belongs before flip and crop: there a step mixes once, whatever number of crops the method looks at, so that all
    of them have the same targets.

    Args:
        probability: share of the batches that are mixed.
        generator: source of randomness; torch's global one when None.

    Raises:
        ValueError: for a probability outside 0..1.
    """

    name: ClassVar[str] = "label mixing"
    mixes_labels: ClassVar[bool] = True

    def __init__(self, *, probability: float, generator: torch.Generator | None = None) -> None:
        super().__init__(generator=generator)
        check_probability(self.name, probability)
        self.probability = probability
        # Partners and own share of the batch changed last; None: it was left as it is.
        self._last: tuple[Tensor, float] | None = None

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
        partner, share = self._last
        if labels.shape != partner.shape:
            raise ValueError(
                f"{self.name}: targets belong to the batch changed last, of {len(partner)} images; "
                f"got labels of shape {tuple(labels.shape)}"
            )
        return ((labels, share), (labels[partner.to(labels.device)], 1 - share))
