"""A threshold on the unknown score, from held-out known images alone, with a finite-sample guarantee."""

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
# Well above what rounding in float32 makes of a score, some 1e-7 of the spread, and well below what sets images apart.
_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class ConformalThreshold:
    """Split-conformal rule: accept an image whose unknown score is at most the k-th smallest held-out score.

    With n scores of known images that were not trained on, k = ceil((n + 1) * accept). If they and a new known image
    are exchangeable (drawn alike, scored by the same network), the new image is rejected with probability at most
    alpha = 1 - accept; with scores further apart than `tolerance` also at least alpha - 1 / (n + 1). That holds for any
    network and score, in expectation over both the held-out images and the new one: the share rejected by one
    particular threshold scatters around it. It says nothing of unknown images, nor of known ones photographed under
    other conditions.

    The threshold is itself the score of an image. Asked about that image again, in a batch of another size or in an
    exported file, the network may give a score higher by its last digits, and nothing that was seen has changed. So
    `accept` and `p_value` look at the score less `tolerance`. The promise holds as before: every image that the rule
    accepts without it is accepted with it, and no p-value gets smaller.

    Sources: Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005; Lei et al., JASA 2018; for
    outlier detection with conformal p-values Bates et al., Annals of Statistics 2023 (arXiv 2104.08279, 2021).

    Make one by `fit` or `from_dict`.

    Attributes:
        scores: (n,) float64 on the CPU, held-out unknown scores in ascending order.
        accept_share: share of known images to accept, between 0 and 1.
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
        """Take the threshold from held-out known images.

        Args:
            scores: (n,) float unknown scores of known images held out from training, in any order.
            accept: share of known images to accept, above 0 and below 1; read as the decimal it is written as.

        Raises:
            ValueError: for no scores, a NaN, another shape or dtype, or a share outside that range.
        """
        return cls(_check_scores(scores).sort().values, float(accept))

    @property
    def threshold(self) -> float:
        """The k-th smallest held-out score; +inf when there are too few held-out images to reject any, see `note`.

        A score is accepted up to `tolerance` above it.
        """
        rank = rank_of_threshold(len(self.scores), self.accept_share)
        return float(self.scores[rank - 1]) if rank <= len(self.scores) else math.inf

    @cached_property
    def tolerance(self) -> float:
        """How much higher a score may come out and count as the same: 1e-5 of the spread of the held-out scores.

        The spread is the standard deviation of those that are finite, with n below the sum, 0 for fewer than two of
        them. It comes from exact sums and is the same number on every machine.
        """
        finite = self.scores[self.scores.isfinite()].tolist()
        return _TOLERANCE * statistics.pstdev(finite) if finite else 0.0

    @property
    def alpha(self) -> float:
        """Largest expected share of new known images rejected, 1 - accept."""
        return float(1 - _exact(self.accept_share))

    @property
    def note(self) -> str | None:
        """What to know when there are too few held-out images for the share asked, else None."""
        needed, held_out = min_held_out(self.accept_share), len(self.scores)
        if held_out >= needed:
            return None
        return (
            f"every image is accepted: a threshold for a share of {self.accept_share:.10g} takes at least {needed} "
            f"held-out known images, and there are {held_out}. Hold out more, or accept a smaller share."
        )

    def accept(self, scores: Tensor) -> Tensor:
        """Whether images are accepted as known: the score less `tolerance` is at most the threshold.

        That is, `p_value` is above `alpha`.

        Args:
            scores: (B,) float unknown scores from the network and detector that were calibrated.

        Returns:
            (B,) bool on the device of the scores.

        Raises:
            ValueError: for a NaN, another shape or dtype.
        """
        return (self._less_tolerance(scores) <= self.threshold).to(scores.device)

    def p_value(self, scores: Tensor) -> Tensor:
        """Conformal p-value of "this image is known": (1 + held-out scores at least as high) / (n + 1).

        As high as the score less `tolerance`. For a new known image, P(p-value <= q) is at most q for every q. A small
        one speaks for unknown.

        Args:
            scores: (B,) float unknown scores from the network and detector that were calibrated.

        Returns:
            (B,) float64 above 0 and at most 1, on the CPU.

        Raises:
            ValueError: for a NaN, another shape or dtype.
        """
        held_out = len(self.scores)
        below = torch.searchsorted(self.scores, self._less_tolerance(scores))
        return (1 + held_out - below).double() / (held_out + 1)

    def to_dict(self) -> dict[str, Any]:
        """Everything there is to know, for JSON; infinite scores become the strings "inf" and "-inf"."""
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
        """Read what `to_dict` wrote, bit for bit.

        Raises:
            ValueError: when an entry is missing, malformed, or was altered.
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
        # To add to the threshold instead would round otherwise: accept, p_value and exported files use one expression.
        return _check_scores(scores) - self.tolerance

    def _digest(self) -> str:
        written = " ".join([RULE, self.accept_share.hex(), *(score.hex() for score in self.scores.tolist())])
        return hashlib.sha256(written.encode()).hexdigest()


def min_held_out(accept: float) -> int:
    """Fewest held-out known images with which the threshold can reject anything: 19 to accept 0.95, 99 for 0.99.

    Args:
        accept: share of known images to accept, above 0 and below 1.

    Raises:
        ValueError: for a share outside that range.
    """
    _check_share(accept)
    share = _exact(accept)
    return math.ceil(share / (1 - share))


def rank_of_threshold(held_out: int, accept: float) -> int:
    """Which held-out score is the threshold, k = ceil((n + 1) accept); one above n where nothing can be rejected.

    Args:
        held_out: number n of held-out known images.
        accept: share of known images to accept, above 0 and below 1.
    """
    return math.ceil((held_out + 1) * _exact(accept))


def _exact(share: float) -> Fraction:
    # In floats 20 * 0.95 may come out above 19 and ceil would take one rank too many.
    return Fraction(repr(float(share)))


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"accept is a share of the known images, above 0 and below 1; got {share}")


def _check_scores(scores: Tensor) -> Tensor:
    if not isinstance(scores, Tensor) or scores.ndim != 1 or not scores.is_floating_point():
        found = f"{tuple(scores.shape)} {scores.dtype}" if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"unknown scores must be a float tensor with one number an image; got {found}")
    # float64 holds every dtype exactly, so that scores of another precision are not rounded across the threshold.
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
