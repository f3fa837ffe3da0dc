"""A threshold on the unknown score with a finite-sample guarantee, fitted on held-out known images only."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from backmix.threshold.default import ACCEPT

RULE = "split-conformal"
# Rounding in float32 changes a score by about 1e-7 of the score, and of the spread. The differences between images are
# far above 1e-5 of the spread. A score may be large against its spread, as cosines near 1 are, so there is a floor.
_OF_SPREAD, _OF_LARGEST = 1e-5, 1e-6


@dataclass(frozen=True, eq=False)
class ConformalThreshold:
    """A split-conformal rule: accept an image if its unknown score is at most the k-th smallest held-out score.

    The threshold is fitted on n scores of known images that were not used in training, and k = ceil((n + 1) * accept).
    If these images and a new known image are exchangeable (drawn from the same distribution, scored by the same
    network), the new image is rejected with probability at most alpha = 1 - accept. If the scores are further apart
    than `tolerance`, the probability is also at least alpha - 1 / (n + 1). This promise holds for any network and any
    score, in expectation over both the held-out images and the new image. The share that one particular threshold
    rejects varies around that expectation. The promise does not cover unknown images, nor known images that were
    photographed under other conditions.

    The threshold is itself the score of an image. If the network scores that image again in a batch of another size or
    from an exported file, the score may be higher in its last digits. Therefore `accept` and `p_value` use the score
    minus `tolerance`. The promise still holds: every image that is accepted without the tolerance is accepted with it,
    and no p-value gets smaller.

    Sources: Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005; Lei et al., JASA 2018; for
    outlier detection with conformal p-values Bates et al., Annals of Statistics 2023 (arXiv 2104.08279, 2021).

    Use `fit` or `from_dict` to make a threshold.

    Attributes:
        scores: (n,) float64 held-out unknown scores in ascending order, on the CPU.
        accept_share: The share of known images to accept, above 0 and below 1.
    """

    scores: Tensor
    accept_share: float

    def __post_init__(self) -> None:
        _check_share(self.accept_share)
        if self.scores.dtype != torch.float64 or not len(_check_scores(self.scores)):
            raise ValueError("there must be a held-out float64 score: hold out at least one known image from training")
        if (self.scores[1:] < self.scores[:-1]).any():
            raise ValueError("held-out scores stand in ascending order; these do not")

    @classmethod
    def fit(cls, scores: Tensor, accept: float = ACCEPT) -> ConformalThreshold:
        """Fit the threshold on held-out known images.

        Args:
            scores: (n,) float unknown scores of known images that were held out from training, in any order.
            accept: The share of known images to accept, above 0 and below 1. It is used as the exact decimal number
                that it prints as.

        Raises:
            ValueError: If there are no scores, a score is NaN, the shape or dtype is wrong, or the share is outside
                its range.
        """
        return cls(_check_scores(scores).sort().values, float(accept))

    @property
    def threshold(self) -> float:
        """The k-th smallest held-out score; +inf if there are too few held-out images to reject any, see `note`.

        Scores up to `tolerance` above the threshold are accepted.
        """
        rank = rank_of_threshold(len(self.scores), self.accept_share)
        return float(self.scores[rank - 1]) if rank <= len(self.scores) else math.inf

    @cached_property
    def tolerance(self) -> float:
        """The largest difference of two scores that count as equal.

        It is 1e-5 times the spread of the held-out scores, or 1e-6 times the largest of them by absolute value where
        that is more. The spread is the population standard deviation (divided by n) of the finite scores; it is 0 for
        fewer than two of them. It is computed with exact sums, so it is the same number on every machine.
        """
        finite: list[float] = self.scores[self.scores.isfinite()].tolist()
        if not finite:
            return 0.0
        return max(_OF_SPREAD * statistics.pstdev(finite), _OF_LARGEST * max(map(abs, finite)))

    @property
    def alpha(self) -> float:
        """The largest expected share of new known images that are rejected, 1 - accept."""
        return float(1 - _exact(self.accept_share))

    @property
    def note(self) -> str | None:
        """A warning if there are too few held-out images for the requested share, else None."""
        needed, held_out = min_held_out(self.accept_share), len(self.scores)
        if held_out >= needed:
            return None
        return (
            f"every image is accepted: a threshold for a share of {self.accept_share:.10g} takes at least {needed} "
            f"held-out known images, and there are {held_out}. Hold out more, or accept "
            f"{most_accepted(held_out):g} or less."
        )

    def accept(self, scores: Tensor) -> Tensor:
        """Decide which images are accepted as known: those whose score minus `tolerance` is at most the threshold.

        This is the same as a `p_value` above `alpha`.

        Args:
            scores: (B,) float unknown scores from the network and detector that were calibrated.

        Returns:
            (B,) bool, True for accepted images, on the device of the scores.

        Raises:
            ValueError: If a score is NaN, or the shape or dtype is wrong.
        """
        return (self._less_tolerance(scores) <= self.threshold).to(scores.device)

    def p_value(self, scores: Tensor) -> Tensor:
        """Return conformal p-values of the hypothesis "this image is known".

        The p-value is (1 + c) / (n + 1), where c is the number of held-out scores that are at least the image's score
        minus `tolerance`. For a new known image, P(p-value <= q) is at most q for every q. A small p-value is evidence
        that the image is unknown.

        Args:
            scores: (B,) float unknown scores from the network and detector that were calibrated.

        Returns:
            (B,) float64 p-values above 0 and at most 1, on the CPU.

        Raises:
            ValueError: If a score is NaN, or the shape or dtype is wrong.
        """
        held_out = len(self.scores)
        below = torch.searchsorted(self.scores, self._less_tolerance(scores))
        return (1 + held_out - below).double() / (held_out + 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole threshold as a dictionary for JSON. Infinite scores become the strings "inf" and "-inf"."""
        return {
            "rule": RULE,
            "accept": self.accept_share,
            "held_out": len(self.scores),
            "threshold": _to_json(self.threshold),
            "scores": [_to_json(score) for score in self.scores.tolist()],
            "sha256": self._digest(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ConformalThreshold:
        """Make a threshold from the dictionary that `to_dict` returned, with exactly the same scores.

        Raises:
            ValueError: If an entry is missing, malformed or altered.
        """
        wanted = ("rule", "accept", "held_out", "threshold", "scores", "sha256")
        if not isinstance(content, Mapping) or set(content) != set(wanted):
            found = sorted(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
            raise ValueError(f"a threshold has the entries {', '.join(wanted)}; found {found}")
        if content["rule"] != RULE:
            raise ValueError(f"the only rule of a threshold is {RULE!r}; found {content['rule']!r}")
        if not isinstance(content["scores"], list):
            raise ValueError(f"the scores of a threshold are a list; found {type(content['scores']).__name__}")
        accept = _from_json(content["accept"], "accept")
        scores = torch.tensor([_from_json(score, "scores") for score in content["scores"]], dtype=torch.float64)
        result = cls(scores, accept)
        for name, value in (
            ("held_out", len(scores)),
            ("threshold", _to_json(result.threshold)),
            ("sha256", result._digest()),
        ):
            if content[name] != value:
                raise ValueError(
                    f"the threshold was altered: its {name} is {content[name]!r}, but its scores give {value!r}. "
                    "Calibrate again."
                )
        return result

    def _less_tolerance(self, scores: Tensor) -> Tensor:
        # Adding to the threshold instead would round differently. `accept`, `p_value` and exported files all subtract.
        return _check_scores(scores) - self.tolerance

    def _digest(self) -> str:
        written = " ".join([RULE, self.accept_share.hex(), *(score.hex() for score in self.scores.tolist())])
        return hashlib.sha256(written.encode()).hexdigest()


def min_held_out(accept: float) -> int:
    """Return the smallest number of held-out known images with which a threshold can reject an image.

    It is 19 for a share of 0.95 and 99 for 0.99.

    Args:
        accept: The share of known images to accept, above 0 and below 1.

    Raises:
        ValueError: If the share is outside that range.
    """
    _check_share(accept)
    share = _exact(accept)
    return math.ceil(share / (1 - share))


def most_accepted(held_out: int) -> float:
    """Return the largest share of known images to accept with which a threshold can still reject an image.

    It is n / (n + 1) for n held-out images, rounded down to three digits after the point, or more for many images: 0.95
    for 19, 0.988 for 84.

    Args:
        held_out: The number n of held-out known images, at least 1.

    Raises:
        ValueError: If there is no held-out image.
    """
    if held_out < 1:
        raise ValueError(f"there must be a held-out image; got {held_out}")
    steps = int(10 ** max(3, len(str(held_out))))
    return (steps * held_out // (held_out + 1)) / steps


def rank_of_threshold(held_out: int, accept: float) -> int:
    """Return the rank k = ceil((n + 1) accept) of the held-out score that is the threshold.

    The rank is n + 1 if the threshold cannot reject any image.

    Args:
        held_out: The number n of held-out known images.
        accept: The share of known images to accept, above 0 and below 1.
    """
    return math.ceil((held_out + 1) * _exact(accept))


def _exact(share: float) -> Fraction:
    # In floating point 20 * 0.95 may be slightly above 19, and ceil would give a rank that is one too high.
    return Fraction(repr(float(share)))


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"accept is a share of the known images, above 0 and below 1; got {share}")


def _check_scores(scores: Tensor) -> Tensor:
    if not isinstance(scores, Tensor) or scores.ndim != 1 or not scores.is_floating_point():
        found = f"{tuple(scores.shape)} {scores.dtype}" if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"unknown scores must be a float tensor with one number an image; got {found}")
    # float64 holds the values of every dtype exactly, so no score is rounded to the other side of the threshold.
    values = scores.detach().cpu().double()
    missing = int(values.isnan().sum())
    if missing:
        raise ValueError(f"{missing} of {len(values)} unknown scores are NaN: look for the images they are of")
    return values


def _to_json(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _from_json(value: object, name: str) -> float:
    if value in ("inf", "-inf"):
        return float(str(value))
    if not isinstance(value, float) or not math.isfinite(value):
        raise ValueError(f'{name} of a threshold: numbers, or "inf" and "-inf"; found {value!r}')
    return float(value)
