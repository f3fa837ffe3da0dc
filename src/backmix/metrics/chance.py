"""How far a share may be off because only so many images were tested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backmix.threshold.conformal import rank_of_threshold

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Proportion:
    """A share of some images, with its Wilson interval.

    Attributes:
        hits: images that count.
        total: images there are, at least 1.
        low: lower end of the 95 % interval, 0..1.
        high: upper end.
    """

    hits: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself, 0..1."""
        return self.hits / self.total

    def holds(self, value: float) -> bool:
        """Whether a share lies within the interval."""
        return self.low <= value <= self.high


def share_of(hits: int, total: int) -> Proportion | None:
    """A share with its 95 % interval; None where there are no images.

    The interval is that of Wilson (JASA 1927): it stays within 0..1 and is of use for few images and for shares near
    0 and 1, where the usual plus and minus is not.

    Raises:
        ValueError: for numbers that make no share.
    """
    if not 0 <= hits <= total:
        raise ValueError(f"there are {hits} of {total} images")
    if total == 0:
        return None
    low, high = wilson(hits, total)
    return Proportion(hits, total, float(low), float(high))


def wilson(hits: ArrayLike, tries: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper ends of Wilson's 95 % intervals for shares, in the shape of the counts; `tries` are above 0.

    `scipy.stats.binomtest` gives the same ends for one share, but takes half a millisecond for each, and an audit
    of 1,000 classes asks for two million.
    """
    hits, tries = np.asarray(hits, dtype=np.float64), np.asarray(tries, dtype=np.float64)
    value, square = hits / tries, Z95**2
    scale = 1 + square / tries
    centre = (value + square / (2 * tries)) / scale
    half = Z95 / scale * np.sqrt(value * (1 - value) / tries + square / (4 * tries**2))
    # At the ends the formula gives the end itself but for rounding.
    low = np.where(hits == 0, 0.0, np.maximum(0.0, centre - half))
    return low, np.where(hits == tries, 1.0, np.minimum(1.0, centre + half))


def accepted_by_chance(held_out: int, accept: float, tested: int) -> tuple[float, float]:
    """Within which shares of accepted known images 95 of 100 calibrations and tests lie, if nothing but chance differs.

    The threshold is the k-th of n held-out scores, k = ceil((n + 1) accept). Of m new images drawn alike the number
    accepted is then beta-binomial with parameters m, k and n + 1 - k, for any network and any continuous score (Vovk,
    "Conditional validity of inductive conformal predictors", 2012). Both samples count: a threshold from few held-out
    images is off by itself.

    Args:
        held_out: images n that the threshold was fitted on.
        accept: share asked for, above 0 and below 1.
        tested: known images m, at least 1.

    Returns:
        Lower and upper share, 0..1; both 1 where the threshold is infinite.
    """
    rank = rank_of_threshold(held_out, accept)
    if rank > held_out:
        return 1.0, 1.0
    low, high = _images_by_chance(tested, rank, held_out)
    return low / tested, high / tested


def accepted_in_the_long_run(held_out: int, accept: float) -> tuple[float, float]:
    """Within which shares of all new known images nine of ten thresholds accept, each fitted on other images.

    The share that a threshold of rank k of n accepts has a beta distribution with parameters k and n + 1 - k, see
    `accepted_by_chance`, whose arguments and ends are meant.
    """
    from scipy.stats import beta  # It takes a second to load, for which no command should wait that does not need it.

    rank = rank_of_threshold(held_out, accept)
    if rank > held_out:
        return 1.0, 1.0
    low, high = beta.ppf((0.05, 0.95), rank, held_out + 1 - rank)
    return float(low), float(high)


@dataclass(frozen=True)
class Bins:
    """A histogram of p-values with what is to be expected.

    Attributes:
        counts: (B,) images in each of B bins of equal width over 0..1.
        expected: (B,) images on average, if known images are drawn as those of the calibration.
        low: (B,) what 95 of 100 such draws lie above, in each bin.
        high: (B,) and below.
    """

    counts: NDArray[np.int64]
    expected: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def p_value_bins(p_values: NDArray[np.float64], held_out: NDArray[np.int64], bins: int = 10) -> Bins:
    """Sort p-values of known images into bins and say how many each should hold.

    A p-value of a calibration of n images is one of j / (n + 1), j = 1..n + 1, each as likely; a bin that holds c of
    these values is to hold c / (n + 1) of the images. The spread is that of the beta-binomial, see
    `accepted_by_chance`.

    Args:
        p_values: (m,) above 0 and at most 1.
        held_out: (m,) size n of the calibration that each came from: it differs where classes have thresholds of
            their own.
        bins: how many.
    """
    steps = held_out + 1
    # In whole numbers: 0.3 * 10 lies above 3 in floats, and the p-value would change bins.
    place = np.minimum((np.rint(p_values * steps).astype(np.int64) * bins - 1) // steps, bins - 1)
    counts = np.bincount(np.maximum(place, 0), minlength=bins)
    expected, variance = np.zeros(bins), np.zeros(bins)
    low, high = np.zeros(bins), np.zeros(bins)
    sizes, of_size = np.unique(held_out, return_counts=True)
    for size, images in zip(sizes.tolist(), of_size.tolist(), strict=True):
        values = np.bincount((np.arange(1, size + 2) * bins - 1) // (size + 1), minlength=bins)
        share = values / (size + 1)
        expected += images * share
        variance += images * share * (1 - share) * (images + size + 1) / (size + 2)
        if len(sizes) == 1:
            for chosen in np.unique(values).tolist():
                ends = (images * chosen / (size + 1),) * 2
                if 0 < chosen <= size:
                    ends = _images_by_chance(images, chosen, size)
                low[values == chosen], high[values == chosen] = ends
    if len(sizes) > 1:  # A sum of several has no such formula; it is near a normal one.
        low = np.maximum(0, expected - Z95 * np.sqrt(variance))
        high = expected + Z95 * np.sqrt(variance)
    return Bins(counts, expected, low, high)


def _images_by_chance(tested: int, rank: int, held_out: int) -> tuple[float, float]:
    """Between which numbers of `tested` images 95 of 100 draws lie, of those below the score of this rank."""
    from scipy.stats import betabinom  # As above: it takes a second to load.

    low, high = betabinom.ppf((0.025, 0.975), tested, rank, held_out + 1 - rank)
    return float(low), float(high)
