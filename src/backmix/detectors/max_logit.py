"""Maximum logit."""

from __future__ import annotations

from torch import Tensor

from backmix.detectors.base import Detector
from backmix.methods.logit_scores import check_logits


class MaxLogit(Detector):
    """Minus the largest logit: its size carries familiarity that the softmax removes.

    Sources: Hendrycks et al., "Scaling out-of-distribution detection for real-world settings", ICML 2022; Vaze et
    al., "Open-set recognition: a good closed-set classifier is all you need", ICLR 2022.
    """

    def __call__(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Unknown scores: logits (B, K) float, features not looked at -> (B,) float64.

        A NaN among an image's logits makes its score NaN.

        Raises:
            ValueError: when the logits have another shape or dtype.
        """
        return -check_logits(logits).amax(1)
