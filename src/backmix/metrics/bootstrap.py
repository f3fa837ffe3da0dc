"""Confidence intervals by resampling images, within each class (Efron and Tibshirani, 1993): percentiles of the figure.

A resample says how often each image was drawn; every figure of it is made from the same draw, so that the difference of
two sets is that of the same images. For a class the images are as many as it has, and the classes are not resampled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

RESAMPLES = 1000
LEVEL = 0.95
_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A figure with the percentiles of its resamples.

    Attributes:
        value: on the images as they are.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


def draw_counts(strata: Tensor, generator: torch.Generator, resamples: int = RESAMPLES) -> Iterator[tuple[int, Tensor]]:
    """How often each image is drawn, a stratum after the other.

    Args:
        strata: (N,) int64 stratum of each image, at least 0.
        generator: on the CPU; source of randomness.
        resamples: how many.

    Yields:
        Number of the stratum, ascending, and (resamples, n) float64 counts of its n images, in the order of `strata`;
        each row sums to n.
    """
    for stratum in strata.unique().tolist():
        count = int((strata == stratum).sum())
        counts = torch.zeros(resamples, count, dtype=torch.float64)
        rows = max(1, _AT_ONCE // count)
        for start in range(0, resamples, rows):
            some = min(rows, resamples - start)
            drawn = torch.randint(count, (some, count), generator=generator)
            ones = torch.ones(some, count, dtype=torch.float64)
            counts[start : start + some].scatter_add_(1, drawn, ones)
        yield int(stratum), counts


def bootstrap_means(
    values: Tensor, present: Tensor, strata: Tensor, generator: torch.Generator, *, resamples: int = RESAMPLES
) -> tuple[list[Interval | None], dict[int, list[Interval | None]]]:
    """Means of several columns over the images that have a value, with intervals.

    Args:
        values: (N, F) float64; what is not present counts for nothing.
        present: (N, F) bool.
        strata: (N,) int64 class of each image, at least 0.
        generator: on the CPU; source of randomness.
        resamples: how many.

    Returns:
        For each column its mean over all images, and the same for each stratum; None where no image has a value.
        Resamples without any such image are left out.
    """
    values, weight = torch.where(present, values, 0.0).double(), present.double()
    sums = torch.zeros(resamples, values.shape[1], dtype=torch.float64)
    weights = torch.zeros_like(sums)
    of_stratum: dict[int, list[Interval | None]] = {}
    for stratum, counts in draw_counts(strata, generator, resamples):
        rows = strata == stratum
        part, part_weight = counts @ values[rows], counts @ weight[rows]
        of_stratum[stratum] = _intervals(values[rows].sum(0), weight[rows].sum(0), part, part_weight)
        sums += part
        weights += part_weight
    return _intervals(values.sum(0), weight.sum(0), sums, weights), of_stratum


def percentiles(resampled: Tensor, level: float = LEVEL) -> tuple[float, float]:
    """Ends (low, high) of the middle share `level` of (R,) figures, between two of them linearly."""
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = resampled.double().quantile(ends).tolist()
    return low, high


def _intervals(total: Tensor, weight: Tensor, sums: Tensor, weights: Tensor) -> list[Interval | None]:
    found: list[Interval | None] = []
    for column in range(len(total)):
        if weight[column] == 0:
            found.append(None)
            continue
        there = weights[:, column] > 0
        value = float(total[column] / weight[column])
        drawn = sums[there, column] / weights[there, column]
        low, high = percentiles(drawn) if len(drawn) else (value, value)
        found.append(Interval(value, low, high))
    return found
