"""The base class of mixup and CutMix, which mix images together with their labels."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.augmentations.base import Augmentation, Targets


class LabelMixing(Augmentation):
    """An augmentation that mixes each image with a partner, and their labels by the same share, one for the batch.

    Its draw begins with the partners, (B,) int64, and the share of the images themselves. It comes before flip and
    crop. There a step mixes once, whatever the number of crops that the method uses, so all crops have the same
    targets.

    Args:
        alpha: Both parameters of the Beta distribution from which shares are drawn.
        probability: The share of the batches that are mixed.
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If alpha is not above 0, or if the probability is outside 0..1.
    """

    options = ("alpha", "probability")
    mixes_labels = True

    def __init__(self, *, alpha: float, probability: float, generator: torch.Generator | None = None) -> None:
        super().__init__(probability=probability, generator=generator)
        self._check(alpha > 0, f"alpha is above 0; got {alpha}")
        self.alpha = alpha

    def moved(self) -> Tensor | None:
        """Return (B,) bool, all true, if in the batch changed last the partners outweigh the images; None otherwise.

        A picture that its partner outweighs hardly shows its own object, so it cannot feed the foreground bank.
        """
        if self._last is None or self._last[1] >= 0.5:
            return None
        return torch.ones_like(self._last[0], dtype=torch.bool)

    def targets(self, labels: Tensor) -> Targets:
        """Return the labels and the partners' labels of the batch changed last, each with its share.

        Args:
            labels: The class of each image, (B,) int64.

        Returns:
            Two pairs of labels and share, or one pair if the batch was not mixed.

        Raises:
            ValueError: If there is not one label for each image of that batch.
        """
        if self._last is None:
            return ((labels, 1.0),)
        partner, share, *_ = self._last
        if labels.shape != partner.shape:
            raise ValueError(
                f"{self.name}: targets belong to the batch changed last, of {len(partner)} images; "
                f"got labels of shape {tuple(labels.shape)}"
            )
        return ((labels, share), (labels[partner.to(labels.device)], 1 - share))
