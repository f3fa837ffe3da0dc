"""OpenMax: probabilities of the known classes and of one more, "unknown"."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from backmix.detectors.base import Detector
from backmix.methods.logit_scores import check_logits

Distance = Literal["eucos", "euclidean"]


class OpenMax(Detector):
    """Extreme-value statistics of the distance to each class mean, in logit space (Bendale and Boult, CVPR 2016).

    Fitting takes for each class c the mean v_c of the logits z of its correctly classified training images and the
    `tail` largest of their distances d to it, and fits an extreme-value distribution W_c to these. An image's classes
    are then ranked by logit, and the i-th of the first `alpha` ones gives up a part of its logit to the unknown:

        o = (alpha + 1 - i) / alpha,   z^_c = z_c (1 - o_c W_c(d_c)),   z^_0 = sum_c (z_c - z^_c)

    with o = 0 for the others; the probabilities are softmax([z^_0, z^_1, ..., z^_K]). Negative logits grow by the
    same formula, as published. A class none of whose training images is classified correctly takes all of them.

    W_c is the Weibull fit of libMR, the library of the paper: it shifts the tail to end at 10000, where a Weibull
    distribution is a Gumbel distribution of minima to four digits. Here that one is fitted, to d minus the least of
    the tail, which needs no such shift.

    The unknown score is not P_0 itself, which rounds to exactly 1 for strong logits whose images then tie, but its
    log-odds log(P_0 / (1 - P_0)) = z^_0 - logsumexp(z^_1 ... z^_K): the same order without the ties.

    Args:
        tail: how many of the largest distances are fitted; 20 in the paper's code. A class with fewer correctly
            classified training images takes all of theirs.
        alpha: how many of the classes with the largest logits are revised; 10 in the paper's code. At most K are.
        distance: "eucos", Euclidean distance / 200 + cosine distance, or "euclidean", the first part alone.

    Attributes:
        means: (K, K) float, v_c in rows; None before `fit`.
        location, scale: (K,) float, of the Gumbel distributions of d.

    Raises:
        ValueError: for an option outside its range.
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
        """Learn from known training images: logits (N, K), features not looked at, labels (N,) int64.

        Raises:
            ValueError: for logits of another shape or dtype, or a class without a training image.
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
        """Revised logits z^, that of "unknown" in column 0: logits (B, K) -> (B, K + 1), float64 where there is that.

        Raises:
            ValueError: before `fit`, or for logits of another shape or dtype.
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
        # CDF of the Gumbel distribution of minima, 1 - exp(-exp(x)).
        tail = -torch.expm1(-torch.exp((self._distances(logits, means) - location) / scale))
        moved = logits * share * tail
        return torch.cat([moved.sum(1, keepdim=True), logits - moved], 1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities of "unknown", in column 0, and of the known classes: logits (B, K) -> (B, K + 1).

        Raises:
            ValueError: before `fit`, or for logits of another shape or dtype.
        """
        return self.revised(logits).softmax(1)

    def decide(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """The likeliest of K + 1: logits (B, K) -> (B,) int64 number of a class, -1 for unknown.

        It is `probabilities(logits).argmax(1) - 1`, but does not round to ties.

        Raises:
            ValueError: before `fit`, or for logits of another shape or dtype.
        """
        return self.revised(logits).argmax(1) - 1

    def __call__(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Unknown scores, the log-odds of "unknown" in nats: logits (B, K), features not looked at -> (B,).

        A NaN among an image's logits makes its score NaN.

        Raises:
            ValueError: before `fit`, or for logits of another shape or dtype.
        """
        revised = self.revised(logits)
        return revised[:, 0] - revised[:, 1:].logsumexp(1)

    def _distances(self, logits: Tensor, means: Tensor) -> Tensor:
        """(B, K) and (M, K) -> (B, M)."""
        # Differences first: |z|^2 - 2 z.v + |v|^2 loses what is small beside the norms.
        euclidean: Tensor = torch.cdist(logits, means, compute_mode="donot_use_mm_for_euclid_dist") / 200
        if self.distance == "euclidean":
            return euclidean
        lengths = logits.norm(dim=1)[:, None] * means.norm(dim=1)
        cosine: Tensor = logits @ means.T / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)
        return euclidean + 1 - cosine


def fit_gumbel_of_minima(values: Tensor) -> tuple[Tensor, Tensor]:
    """Location and scale of the likeliest Gumbel distribution of minima, F(x) = 1 - exp(-exp((x - location) / scale)).

    The scale s solves s = sum x w / sum w - mean x with w = exp(x / s), and location = s log mean w. Where all values
    are equal every scale is too wide; then s is 1e-6 of their size (of 1 below it), and F all but a step.

    Args:
        values: (N,) float, N at least 1.
    """
    mean, top = values.mean(), values.max()
    smallest = 1e-6 * values.abs().max().clamp(min=1)
    low, high = smallest, smallest.maximum(top - values.min())
    for _ in range(100):  # Bisection: the right side less s falls as s grows.
        middle = (low + high) / 2
        weights = ((values - top) / middle).exp()
        too_small = (values * weights).sum() / weights.sum() - mean > middle
        low, high = torch.where(too_small, middle, low), torch.where(too_small, high, middle)
    scale = (low + high) / 2
    return top + scale * ((values - top) / scale).exp().mean().log(), scale
