"""Free energy of the logits."""

from __future__ import annotations

import math

from torch import Tensor

from backmix.detectors.base import Detector
from backmix.methods.logit_scores import check_logits


class Energy(Detector):
    """Free energy -T logsumexp(z / T) (Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020, eq. 4).

    Args:
        temperature: T above 0. A small one approaches the maximum logit, a large one the mean of the logits (less
            a constant); 1 in the paper.

    Raises:
        ValueError: for a temperature that is not finite and above 0.
    """

    def __init__(self, *, temperature: float = 1.0) -> None:
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature must be a finite number above 0; got {temperature}")
        self.temperature = temperature

    def __call__(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Unknown scores: logits (B, K) float, features not looked at -> (B,) float64.

        A NaN among an image's logits makes its score NaN.

        Raises:
            ValueError: when the logits have another shape or dtype.
        """
        return -self.temperature * (check_logits(logits) / self.temperature).logsumexp(1)
