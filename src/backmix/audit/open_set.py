"""Measure how much backgrounds mislead the answer "unknown".

Kk and Kq are known objects on backgrounds of known and of unknown images; they should be accepted. Qk and Qq are
unknown objects on backgrounds of known and of unknown images; they should be rejected. Scores are unknown scores.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from backmix.metrics.bootstrap import RESAMPLES, draw_counts, percentiles

PAIRS = (("Kk", "Qk"), ("Kk", "Qq"), ("Kq", "Qk"), ("Kq", "Qq"))
_AT_ONCE = 4_000_000


def open_set_figures(
    scores: dict[str, Tensor], strata: dict[str, Tensor], generator: torch.Generator, *, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return the AUROC of the four pairs, the background misleading index and the background bias of acceptance.

    misleading_index is the AUROC of Kk against Qq minus the AUROC of Kk against Qk: the loss when an unknown object
    stands on a background of known images. bias is the mean unknown score of Qq minus that of Qk, in standard
    deviations of Kk.

    Args:
        scores: The unknown scores of Kk (n,), Kq (n,), Qk (m,) and Qq (m,), of the same n known and m unknown images;
            NaN for an image that is not in the set.
        strata: The class of each image of "K" (n,) and "Q" (m,), int64.
        generator: The random generator that draws the resamples, on the CPU. All figures share the resamples.
        resamples: The number of resamples.

    Returns:
        `auroc` by pair ("Kk-Qk"), `misleading_index` and `bias`, each with value, low and high, or None if a set that
        it needs has no image; and `images`, the number of images in each set.
    """
    counts = {side: _counts(strata[side], generator, resamples) for side in "KQ"}
    there = {name: ~of.isnan() for name, of in scores.items()}
    found: dict[str, Tensor | None] = {}
    for known, unknown in PAIRS:
        if not (there[known].any() and there[unknown].any()):
            found[f"{known}-{unknown}"] = None
            continue
        sides = ((scores[known], there[known], counts["K"]), (scores[unknown], there[unknown], counts["Q"]))
        found[f"{known}-{unknown}"] = _auroc(*sides)
    index, bias = None, None
    first, second = found["Kk-Qq"], found["Kk-Qk"]
    if first is not None and second is not None:
        index = first - second
        bias = _bias(scores, there, counts)
    return {
        "auroc": {pair: _interval(of) for pair, of in found.items()},
        "misleading_index": _interval(index),
        "bias": _interval(bias),
        "images": {name: int(of.sum()) for name, of in there.items()},
    }


def weighted_auroc(known: Tensor, unknown: Tensor, known_weights: Tensor, unknown_weights: Tensor) -> Tensor:
    """Return the AUROC of resamples: P(unknown scores higher than known) + P(equal) / 2.

    Each image counts as often as it is drawn.

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
        known_weights: (R, n) float64, the number of times that each known image is drawn.
        unknown_weights: (R, m) float64, the number of times that each unknown image is drawn.

    Returns:
        (R,) float64; NaN for a resample without known or without unknown images.
    """
    levels, place = torch.cat([known, unknown]).unique(return_inverse=True)
    parts = []
    rows = max(1, _AT_ONCE // len(place))
    for one, other in zip(known_weights.split(rows), unknown_weights.split(rows), strict=True):
        mass = torch.zeros(2, len(one), len(levels), dtype=torch.float64)
        mass[0].index_add_(1, place[: len(known)], one)
        mass[1].index_add_(1, place[len(known) :], other)
        not_above = mass[0].cumsum(1)
        wins = (mass[1] * (not_above - mass[0] / 2)).sum(1)
        parts.append(wins / (one.sum(1) * other.sum(1)))
    return torch.cat(parts)


def _counts(strata: Tensor, generator: torch.Generator, resamples: int) -> Tensor:
    """Return how often each image counts, (1 + R, n): once in the first row, and as drawn in those of the resamples."""
    counts = torch.ones(1 + resamples, len(strata), dtype=torch.float64)
    for stratum, drawn in draw_counts(strata, generator, resamples):
        counts[1:, strata == stratum] = drawn
    return counts


def _auroc(known: tuple[Tensor, Tensor, Tensor], unknown: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    (s, there, counts), (t, here, others) = known, unknown
    return weighted_auroc(s[there], t[here], counts[:, there], others[:, here])


def _bias(scores: dict[str, Tensor], there: dict[str, Tensor], counts: dict[str, Tensor]) -> Tensor:
    def mean(name: str, power: int = 1) -> Tensor:
        rows = there[name]
        weights = counts[name[0]][:, rows]
        return weights @ scores[name][rows].double() ** power / weights.sum(1)

    deviation = (mean("Kk", 2) - mean("Kk") ** 2).clamp_min(0).sqrt()
    return (mean("Qq") - mean("Qk")) / deviation


def _interval(figure: Tensor | None) -> dict[str, float] | None:
    """Return the value and the interval of a figure (1 + R,), which holds the value and then its resamples."""
    if figure is None or not figure[0].isfinite():
        return None
    resampled = figure[1:][figure[1:].isfinite()]
    low, high = percentiles(resampled) if len(resampled) else (float(figure[0]), float(figure[0]))
    return {"value": float(figure[0]), "low": low, "high": high}
