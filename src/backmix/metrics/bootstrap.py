"""Bootstrap confidence intervals: percentiles of a figure over resampled images (Efron and Tibshirani, 1993).

Images are resampled within each class: a resample draws as many images of a class as the class has. The classes are not
resampled. A resample is a count for each image of how often it was drawn. All figures of one resample use the same
counts, so that differences between figures are differences on the same images.
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
    """A figure with its confidence interval.

    Attributes:
        value: The figure on the original images.
        low: The lower end of the interval.
        high: The upper end of the interval.
    """

    value: float
    low: float
    high: float


def draw_counts(strata: Tensor, generator: torch.Generator, resamples: int = RESAMPLES) -> Iterator[tuple[int, Tensor]]:
    """Draw how often each image occurs in each resample, one stratum after the other.

    Args:
        strata: (N,) int64 stratum of each image, at least 0.
        generator: The random number generator, on the CPU.
        resamples: The number of resamples.

    Yields:
        The number of the stratum, in ascending order, and (resamples, n) float64 counts of its n images, in the order
        of `strata`. Each row sums to n.
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
    """Return the mean of each column over the images that have a value, with confidence intervals.

    Args:
        values: (N, F) float64 values. Values that are not present are ignored.
        present: (N, F) bool, True where an image has a value.
        strata: (N,) int64 class of each image, at least 0.
        generator: The random number generator, on the CPU.
        resamples: The number of resamples.

    Returns:
        The mean of each column over all images, and a dictionary from each stratum to the means over its images. A mean
        is None if no image has a value. Resamples in which no image has a value are left out.
    """
    values, weight = torch.where(present, values, 0.0).double(), present.double()
    sums = torch.zeros(resamples, values.shape[1], dtype=torch.float64)
    weights = torch.zeros_like(sums)
    by_stratum: dict[int, list[Interval | None]] = {}
    for stratum, counts in draw_counts(strata, generator, resamples):
        rows = strata == stratum
        part, part_weight = counts @ values[rows], counts @ weight[rows]
        by_stratum[stratum] = _intervals(values[rows].sum(0), weight[rows].sum(0), part, part_weight)
        sums += part
        weights += part_weight
    return _intervals(values.sum(0), weight.sum(0), sums, weights), by_stratum


def percentiles(resampled: Tensor, level: float = LEVEL) -> tuple[float, float]:
    """Return the ends (low, high) of the middle share `level` of (R,) figures, linearly interpolated."""
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = resampled.double().quantile(ends).tolist()
    return low, high


def _intervals(total: Tensor, weight: Tensor, sums: Tensor, weights: Tensor) -> list[Interval | None]:
    found: list[Interval | None] = []
    for column in range(len(total)):
        if weight[column] == 0:
            found.append(None)
            continue
        usable = weights[:, column] > 0
        value = float(total[column] / weight[column])
        drawn = sums[usable, column] / weights[usable, column]
        low, high = percentiles(drawn) if len(drawn) else (value, value)
        found.append(Interval(value, low, high))
    return found
