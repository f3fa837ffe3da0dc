"""The maximum softmax probability detector, computed in log space."""

from __future__ import annotations

from torch import Tensor

from backmix.detectors.base import Detector
from backmix.methods.logit_scores import msp


class MSP(Detector):
    """Minus the log of the largest softmax probability: logsumexp(z) - max z, in nats, 0 or more.

    It ranks images in the same order as the largest probability (Hendrycks and Gimpel, ICLR 2017), but without its
    ties, see `backmix.methods.logit_scores.msp`.
    """

    def __call__(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Return unknown scores: logits (B, K) float -> (B,) float64. The features are not used.

        The score is NaN if one of the logits of the image is NaN.

        Raises:
            ValueError: If the logits have a wrong shape or dtype.
        """
        return msp(logits)
