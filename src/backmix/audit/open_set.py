"""How much backgrounds mislead the answer "unknown": known and unknown objects on known and unknown backgrounds.

Kk and Kq are known objects on the background of known and of unknown images and should be accepted, Qk and Qq are
unknown objects and should be rejected. Scores are unknown scores.
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
    """AUROC of the four pairs, the background misleading index and the background bias of acceptance.

    misleading_index: AUROC of Kk against Qq minus that of Kk against Qk: what is lost when the unknown object stands
    where known ones do. bias: mean unknown score of Qq minus that of Qk, in standard deviations of Kk.

    Args:
        scores: unknown scores of Kk (n,), Kq (n,), Qk (m,) and Qq (m,), of the same n known and m unknown images; NaN
            where an image is not in the set.
        strata: class of each image of "K" (n,) and "Q" (m,), int64.
        generator: on the CPU; draws the resamples, one for all figures.
        resamples: how many.

    Returns:
        `auroc` by pair ("Kk-Qk"), `misleading_index` and `bias`, each with value, low and high, None where an image is
        missing; `images` by set.
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
    """AUROC of resamples: P(unknown scores higher than known) + P(equal) / 2, each image counting as often as drawn.

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
        known_weights: (R, n) float64.
        unknown_weights: (R, m) float64.

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
    """(1 + R, n): the images as they are, then the resamples."""
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
    """Value and ends from (1 + R,): the figure, then its resamples."""
    if figure is None or not figure[0].isfinite():
        return None
    resampled = figure[1:][figure[1:].isfinite()]
    low, high = percentiles(resampled) if len(resampled) else (float(figure[0]), float(figure[0]))
    return {"value": float(figure[0]), "low": low, "high": high}
