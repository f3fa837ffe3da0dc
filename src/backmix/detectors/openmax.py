"""OpenMax: probabilities of the known classes and of one more class, "unknown"."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from backmix.detectors.base import Detector
from backmix.methods.logit_scores import check_logits

Distance = Literal["eucos", "euclidean"]


class OpenMax(Detector):
    """A detector that uses extreme-value statistics of the distance to each class mean in logit space.

    Source: Bendale and Boult, CVPR 2016.

    The fit computes, for each class c, the mean v_c of the logits z of its correctly classified training images. It
    takes the `tail` largest distances d of these images to v_c, and fits an extreme-value distribution W_c to them. If
    no training image of a class is classified correctly, all its training images are used. To score an image, its
    classes are ranked by logit, and each of the first `alpha` classes, with rank i, gives a part of its logit to the
    unknown:

        o = (alpha + 1 - i) / alpha,   z^_c = z_c (1 - o_c W_c(d_c)),   z^_0 = sum_c (z_c - z^_c)

    For the other classes o = 0. The probabilities are softmax([z^_0, z^_1, ..., z^_K]). As published, the same formula
    makes negative logits larger.

    libMR, the library of the paper, fits a Weibull distribution to the tail after it shifts the tail to end at 10000.
    There a Weibull distribution agrees to four digits with a Gumbel distribution of minima. This class fits the Gumbel
    distribution to d minus the smallest distance of the tail, which needs no shift to 10000.

    The unknown score is the log-odds log(P_0 / (1 - P_0)) = z^_0 - logsumexp(z^_1 ... z^_K). P_0 itself rounds to
    exactly 1 for strong logits, so that images tie; the log-odds have the same order without ties.

    Args:
        tail: The number of largest distances that are fitted; 20 in the paper's code. A class with fewer correctly
            classified training images uses the distances of all of them.
        alpha: The number of classes with the largest logits whose logits are revised; 10 in the paper's code. If it is
            above K, all K logits are revised.
        distance: "eucos" is the Euclidean distance / 200 plus the cosine distance; "euclidean" is only the first part.

    Attributes:
        means: (K, K) float, the means v_c as rows; None before `fit`.
        location: (K,) float locations of the Gumbel distributions of d.
        scale: (K,) float scales of the Gumbel distributions of d.

    Raises:
        ValueError: If an option is outside its range.
    """

    needs_fitting = True

    def __init__(self, *, tail: int = 20, alpha: int = 10, distance: Distance = "eucos") -> None:
        if tail < 2 or alpha < 1:
            raise ValueError(f"openmax: tail is 2 or more and alpha 1 or more; got {tail} and {alpha}")
        if distance not in ("eucos", "euclidean"):
            raise ValueError(f'openmax: distance is "eucos" or "euclidean"; got {distance!r}')
        self.tail = tail
        self.alpha = alpha
        self.distance = distance
        self.means: Tensor | None = None
        self.location = self.scale = torch.empty(0)

    def fit(self, logits: Tensor, features: Tensor | None, labels: Tensor) -> None:
        """Fit the detector on known training images: logits (N, K), labels (N,) int64. The features are not used.

        Raises:
            ValueError: If the logits have a wrong shape or dtype, or a class has no training image.
        """
        logits = check_logits(logits)
        correct = logits.argmax(1) == labels
        means, location, scale = [], [], []
        for k in range(logits.shape[1]):
            own = labels == k
            if not bool(own.any()):
                raise ValueError(f"openmax: no training image of class number {k}; every known class needs one")
            rows = logits[own & correct] if bool((own & correct).any()) else logits[own]
            means.append(rows.mean(0))
            distances = self._distances(rows, means[-1][None])[:, 0]
            tail = distances.topk(min(self.tail, len(distances))).values
            at, spread = fit_gumbel_of_minima(tail - tail.min())
            location.append(at + tail.min())
            scale.append(spread)
        self.means, self.location, self.scale = torch.stack(means), torch.stack(location), torch.stack(scale)

    def revised(self, logits: Tensor) -> Tensor:
        """Return the revised logits z^ with "unknown" in column 0: logits (B, K) -> (B, K + 1).

        The dtype is float64, or float32 on devices without float64.

        Raises:
            ValueError: If `fit` was not called, or the logits have a wrong shape or dtype.
        """
        logits = check_logits(logits)
        if self.means is None:
            raise ValueError("openmax: fit it on training images first")
        if logits.shape[1] != len(self.means):
            raise ValueError(f"openmax: fitted on {len(self.means)} classes; got logits {tuple(logits.shape)}")
        means, location, scale = (x.to(logits) for x in (self.means, self.location, self.scale))
        alpha = min(self.alpha, logits.shape[1])
        rank = logits.argsort(1, descending=True).argsort(1)
        share = ((alpha - rank) / alpha).clamp(min=0)
        # The CDF of the Gumbel distribution of minima is 1 - exp(-exp(x)).
        tail = -torch.expm1(-torch.exp((self._distances(logits, means) - location) / scale))
        moved = logits * share * tail
        return torch.cat([moved.sum(1, keepdim=True), logits - moved], 1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of "unknown", in column 0, and of the known classes: logits (B, K) -> (B, K + 1).

        Raises:
            ValueError: If `fit` was not called, or the logits have a wrong shape or dtype.
        """
        return self.revised(logits).softmax(1)

    def decide(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Return the likeliest of the K + 1 classes: logits (B, K) -> (B,) int64 class number, -1 for unknown.

        It equals `probabilities(logits).argmax(1) - 1`, but without ties from rounding. The features are not used.

        Raises:
            ValueError: If `fit` was not called, or the logits have a wrong shape or dtype.
        """
        return self.revised(logits).argmax(1) - 1

    def __call__(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Return unknown scores, the log-odds of "unknown" in nats: logits (B, K) -> (B,). The features are not used.

        The score is NaN if one of the logits of the image is NaN.

        Raises:
            ValueError: If `fit` was not called, or the logits have a wrong shape or dtype.
        """
        revised = self.revised(logits)
        return revised[:, 0] - revised[:, 1:].logsumexp(1)

    def _distances(self, logits: Tensor, means: Tensor) -> Tensor:
        """Return the distances of logits (B, K) to means (M, K) -> (B, M)."""
        # cdist takes differences first: |z|^2 - 2 z.v + |v|^2 would lose distances that are small beside the norms.
        euclidean: Tensor = torch.cdist(logits, means, compute_mode="donot_use_mm_for_euclid_dist") / 200
        if self.distance == "euclidean":
            return euclidean
        lengths = logits.norm(dim=1)[:, None] * means.norm(dim=1)
        cosine: Tensor = logits @ means.T / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)
        return euclidean + 1 - cosine


def fit_gumbel_of_minima(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return location and scale of the maximum-likelihood Gumbel distribution of minima.

    The distribution is F(x) = 1 - exp(-exp((x - location) / scale)). The scale s solves s = sum x w / sum w - mean x
    with w = exp(x / s), and location = s log mean w. If all values are equal, no scale is small enough; then s is 1e-6
    times their size, or 1e-6 if their size is below 1, and F is almost a step.

    Args:
        values: (N,) float, N at least 1.
    """
    mean, top = values.mean(), values.max()
    smallest = 1e-6 * values.abs().max().clamp(min=1)
    low, high = smallest, smallest.maximum(top - values.min())
    for _ in range(100):  # Bisection works because the right side minus s falls as s grows.
        middle = (low + high) / 2
        weights = ((values - top) / middle).exp()
        too_small = (values * weights).sum() / weights.sum() - mean > middle
        low, high = torch.where(too_small, middle, low), torch.where(too_small, high, middle)
    scale = (low + high) / 2
    return top + scale * ((values - top) / scale).exp().mean().log(), scale
