"""Maximum softmax probability, in log space."""

from __future__ import annotations

from torch import Tensor

from backmix.detectors.base import Detector, check_logits


class MSP(Detector):
    """Minus the log of the largest softmax probability: logsumexp(z) - max z, in nats, 0 or more.

    It ranks images as the largest probability does (Hendrycks and Gimpel, ICLR 2017), but that one rounds to exactly
    1 for confident networks, whose images then tie. Here the probability of the other classes is summed up instead of
    taken from 1, so two images differ until every other class is more than 700 below the first.
    """

    def __call__(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Unknown scores: logits (B, K) float, features not looked at -> (B,) float64.

        A NaN among an image's logits makes its score NaN.

        Raises:
            ValueError: when the logits have another shape or dtype.
        """
        logits = check_logits(logits)
        top, best = logits.max(1, keepdim=True)
        others = (logits - top).exp().scatter(1, best, 0.0)
        return others.sum(1).log1p()
