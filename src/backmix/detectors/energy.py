"""The energy detector: the free energy of the logits."""

from __future__ import annotations

import math

from torch import Tensor

from backmix.detectors.base import Detector
from backmix.methods.logit_scores import check_logits


class Energy(Detector):
    """The free energy -T logsumexp(z / T) of the logits z.

    Source: Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020, eq. 4.

    Args:
        temperature: The temperature T, above 0; 1 in the paper. With a small T the score is close to minus the maximum
            logit, with a large T it is close to minus the mean of the logits, up to a constant.

    Raises:
        ValueError: If the temperature is not a finite number above 0.
    """

    def __init__(self, *, temperature: float = 1.0) -> None:
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature must be a finite number above 0; got {temperature}")
        self.temperature = temperature

    def __call__(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Return unknown scores: logits (B, K) float -> (B,) float64. The features are not used.

        The score is NaN if one of the logits of the image is NaN.

        Raises:
            ValueError: If the logits have a wrong shape or dtype.
        """
        return -self.temperature * (check_logits(logits) / self.temperature).logsumexp(1)
