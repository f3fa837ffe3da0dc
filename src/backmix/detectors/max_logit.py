"""The maximum logit detector."""

from __future__ import annotations

from torch import Tensor

from backmix.detectors.base import Detector
from backmix.methods.logit_scores import check_logits


class MaxLogit(Detector):
    """Minus the largest logit. The size of the logits shows how familiar an image is, and the softmax removes it.

    Sources: Hendrycks et al., "Scaling out-of-distribution detection for real-world settings", ICML 2022; Vaze et
    al., "Open-set recognition: a good closed-set classifier is all you need", ICLR 2022.
    """

    def __call__(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Return unknown scores: logits (B, K) float -> (B,) float64. The features are not used.

        The score is NaN if one of the logits of the image is NaN.

        Raises:
            ValueError: If the logits have a wrong shape or dtype.
        """
        return -check_logits(logits).amax(1)
