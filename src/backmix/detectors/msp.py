"""Maximum softmax probability, in log space."""

from __future__ import annotations

from torch import Tensor

from backmix.detectors.base import Detector
from backmix.methods.logit_scores import msp


class MSP(Detector):
    """Minus the log of the largest softmax probability: logsumexp(z) - max z, in nats, 0 or more.

    It ranks images as the largest probability does (Hendrycks and Gimpel, ICLR 2017), but without its ties, see
    `backmix.methods.logit_scores.msp`.
    """

    def __call__(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Unknown scores: logits (B, K) float, features not looked at -> (B,) float64.

        A NaN among an image's logits makes its score NaN.

        Raises:
            ValueError: when the logits have another shape or dtype.
        """
        return msp(logits)
