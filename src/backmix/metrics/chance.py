"""The uncertainty of a share that was measured on a limited number of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backmix.threshold.conformal import rank_of_threshold

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Proportion:
    """A share of images with its 95 % Wilson interval.

    Attributes:
        hits: The number of images that have the property.
        total: The number of all images, at least 1.
        low: The lower end of the interval, 0..1.
        high: The upper end of the interval, 0..1.
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
        """Return whether a share lies within the interval."""
        return self.low <= value <= self.high


def share_of(hits: int, total: int) -> Proportion | None:
    """Return a share with its 95 % interval, or None if there are no images.

    The interval of Wilson (JASA 1927) stays within 0..1. It works for few images and for shares near 0 and 1, where the
    usual normal interval does not.

    Args:
        hits: The number of images that have the property.
        total: The number of all images.

    Raises:
        ValueError: If `hits` is below 0 or above `total`.
    """
    if not 0 <= hits <= total:
        raise ValueError(f"there are {hits} of {total} images")
    if total == 0:
        return None
    low, high = wilson(hits, total)
    return Proportion(hits, total, float(low), float(high))


def wilson(hits: ArrayLike, tries: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and upper ends of Wilson's 95 % intervals for shares, in the shape of the counts.

    `scipy.stats.binomtest` gives the same ends for one share, but it takes half a millisecond for each share, and an
    audit of 1,000 classes needs two million shares.

    Args:
        hits: The numbers of images that have the property, at least 0.
        tries: The numbers of all images, above 0.
    """
    hits, tries = np.asarray(hits, dtype=np.float64), np.asarray(tries, dtype=np.float64)
    value, square = hits / tries, Z95**2
    scale = 1 + square / tries
    centre = (value + square / (2 * tries)) / scale
    half = Z95 / scale * np.sqrt(value * (1 - value) / tries + square / (4 * tries**2))
    # The formula has rounding errors. With 0 hits the lower end is exactly 0; with all hits the upper end is exactly 1.
    low = np.where(hits == 0, 0.0, np.maximum(0.0, centre - half))
    return low, np.where(hits == tries, 1.0, np.minimum(1.0, centre + half))


def accepted_by_chance(held_out: int, accept: float, tested: int) -> tuple[float, float]:
    """Return the range in which the share of accepted known images lies in 95 of 100 pairs of calibration and test.

    The range assumes that the held-out and the tested images differ only by chance. The threshold is the k-th of n
    held-out scores, k = ceil((n + 1) accept). The number of accepted images among m new images from the same
    distribution is then beta-binomial with parameters m, k and n + 1 - k, for any network and any continuous score
    (Vovk, "Conditional validity of inductive conformal predictors", 2012). Both samples add uncertainty: a threshold
    that is fitted on few held-out images is itself inexact.

    Args:
        held_out: The number n of images that the threshold was fitted on.
        accept: The share of known images to accept, above 0 and below 1.
        tested: The number m of tested known images, at least 1.

    Returns:
        The lower and the upper share, 0..1. Both are 1 if the threshold is infinite.
    """
    rank = rank_of_threshold(held_out, accept)
    if rank > held_out:
        return 1.0, 1.0
    low, high = _images_by_chance(tested, rank, held_out)
    return low / tested, high / tested


def accepted_in_the_long_run(held_out: int, accept: float) -> tuple[float, float]:
    """Return the range in which the share of all new known images that a threshold accepts lies in 9 of 10 cases.

    The cases are thresholds that are fitted on different held-out images. The share that a threshold of rank k of n
    accepts has a beta distribution with parameters k and n + 1 - k, see `accepted_by_chance`.

    Args:
        held_out: The number n of images that the threshold was fitted on.
        accept: The share of known images to accept, above 0 and below 1.

    Returns:
        The lower and the upper share, 0..1. Both are 1 if the threshold is infinite.
    """
    from scipy.special import betaincinv  # Commands that do not need it should not wait for its import.

    rank = rank_of_threshold(held_out, accept)
    if rank > held_out:
        return 1.0, 1.0
    low, high = betaincinv(rank, held_out + 1 - rank, (0.05, 0.95))
    return float(low), float(high)


@dataclass(frozen=True)
class Bins:
    """A histogram of p-values with the expected numbers of images.

    The expected numbers assume that the images come from the same distribution as those of the calibration.

    Attributes:
        counts: (B,) number of images in each of B bins of equal width over 0..1.
        expected: (B,) expected number of images in each bin.
        low: (B,) lower end of the range in which the number lies in 95 of 100 cases, for each bin.
        high: (B,) upper end of that range, for each bin.
    """

    counts: NDArray[np.int64]
    expected: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def p_value_bins(p_values: NDArray[np.float64], held_out: NDArray[np.int64], bins: int = 10) -> Bins:
    """Sort p-values of known images into bins and compute how many images each bin should hold.

    A p-value from a calibration with n images is one of j / (n + 1), j = 1..n + 1, all equally likely. So a bin with c
    of these values should hold the share c / (n + 1) of the images. The range around it comes from the beta-binomial
    distribution, see `accepted_by_chance`.

    Args:
        p_values: (m,) p-values, above 0 and at most 1.
        held_out: (m,) number n of held-out images behind each p-value. The numbers differ if classes have their own
            thresholds.
        bins: The number of bins.
    """
    steps = held_out + 1
    # The computation uses integers: in floating point 0.3 * 10 is above 3, and the p-value would change its bin.
    place = np.minimum((np.rint(p_values * steps).astype(np.int64) * bins - 1) // steps, bins - 1)
    counts = np.bincount(np.maximum(place, 0), minlength=bins)
    expected, variance = np.zeros(bins), np.zeros(bins)
    low, high = np.zeros(bins), np.zeros(bins)
    sizes, numbers = np.unique(held_out, return_counts=True)
    for size, images in zip(sizes.tolist(), numbers.tolist(), strict=True):
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
    if len(sizes) > 1:  # A sum of several beta-binomials has no closed formula; a normal distribution is close to it.
        low = np.maximum(0, expected - Z95 * np.sqrt(variance))
        high = expected + Z95 * np.sqrt(variance)
    return Bins(counts, expected, low, high)


def _images_by_chance(tested: int, rank: int, held_out: int) -> tuple[float, float]:
    """Return the range in which the number of `tested` images with scores below this rank lies in 95 of 100 draws."""
    # ln(n!) for n = 0, 1, ...: all terms of the beta-binomial law are factorials here, where ranks are whole numbers.
    log_factorial = np.concatenate([[0.0], np.log(np.arange(1, tested + held_out + 1)).cumsum()])

    def log_beta(a: NDArray[np.int64] | int, b: NDArray[np.int64] | int) -> NDArray[np.float64]:
        found: NDArray[np.float64] = log_factorial[a - 1] + log_factorial[b - 1] - log_factorial[a + b - 1]
        return found

    a, b, number = rank, held_out + 1 - rank, np.arange(tested + 1)
    ways = log_factorial[tested] - log_factorial[number] - log_factorial[tested - number]
    share = np.exp(ways + log_beta(number + a, tested - number + b) - log_beta(a, b)).cumsum()
    # The last sum is 1 but for rounding.
    low, high = np.searchsorted(share[:-1], (0.025, 0.975))
    return float(low), float(high)
