"""Intervals against a plain loop over the same draws, and against what is known of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.metrics import bootstrap
from backmix.metrics.bootstrap import bootstrap_means, draw_counts, percentiles


def slow_means(values, present, strata, seed, resamples):
    """Overall and per stratum: value and percentiles, image by image."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for stratum in sorted(set(strata.tolist())):
        rows = [i for i in range(len(strata)) if strata[i] == stratum]
        table = torch.randint(len(rows), (resamples, len(rows)), generator=generator).tolist()
        drawn[stratum] = [[rows[j] for j in line] for line in table]

    def interval(column, strata_in, everyone):
        def mean(chosen):
            there = [float(values[i, column]) for i in chosen if present[i, column]]
            return sum(there) / len(there) if there else None

        value = mean(everyone)
        if value is None:
            return None
        means = [mean([i for stratum in strata_in for i in drawn[stratum][r]]) for r in range(resamples)]
        low, high = np.quantile([m for m in means if m is not None], [0.025, 0.975])
        return value, low, high

    everyone = range(len(strata))
    overall = [interval(c, list(drawn), everyone) for c in range(values.shape[1])]
    of = {s: [interval(c, [s], [i for i in everyone if strata[i] == s]) for c in range(values.shape[1])] for s in drawn}
    return overall, of


def check(found, wanted):
    assert (found is None) == (wanted is None)
    if found is not None:
        assert (found.value, found.low, found.high) == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.integers(1, 25))
def test_means_and_percentiles_are_those_of_a_loop(seed, count):
    random = torch.Generator().manual_seed(seed)
    values = torch.rand(count, 3, generator=random, dtype=torch.float64)
    present = torch.rand(count, 3, generator=random) < 0.7
    present[:, 2] = False
    strata = torch.randint(4, (count,), generator=random) * 2
    overall, of = bootstrap_means(values, present, strata, torch.Generator().manual_seed(seed), resamples=40)
    slow, slow_of = slow_means(values, present, strata, seed, 40)
    for found, wanted in zip(overall, slow, strict=True):
        check(found, wanted)
    assert list(of) == list(slow_of)
    for stratum in of:
        for found, wanted in zip(of[stratum], slow_of[stratum], strict=True):
            check(found, wanted)


def test_every_draw_has_as_many_images_as_there_are(monkeypatch):
    strata = torch.tensor([0, 3, 0, 3, 3])
    wanted = list(draw_counts(strata, torch.Generator().manual_seed(1), 50))
    assert [stratum for stratum, _ in wanted] == [0, 3]
    for (_, counts), size in zip(wanted, (2, 3), strict=True):
        assert counts.shape == (50, size) and bool((counts.sum(1) == size).all())
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 7)  # A few rows at a time draw the same.
    for (_, counts), (_, again) in zip(wanted, draw_counts(strata, torch.Generator().manual_seed(1), 50)):
        assert torch.equal(counts, again)


def test_an_interval_of_a_share_is_about_that_of_the_binomial():
    hits = (torch.arange(400) < 300).double()[:, None]
    (found,), _ = bootstrap_means(
        hits,
        torch.ones(400, 1, dtype=torch.bool),
        torch.zeros(400, dtype=torch.int64),
        torch.Generator().manual_seed(0),
    )
    spread = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert found.value == 0.75
    assert found.low == pytest.approx(0.75 - spread, abs=0.006) and found.high == pytest.approx(
        0.75 + spread, abs=0.006
    )


def test_the_difference_of_two_equal_columns_is_surely_none():
    column = (torch.arange(50) % 2).double()
    values = torch.stack([column, column - column], 1)
    (_, difference), _ = bootstrap_means(
        values, torch.ones(50, 2, dtype=torch.bool), torch.arange(50) % 3, torch.Generator().manual_seed(0)
    )
    assert (difference.low, difference.high) == (0, 0)


def test_percentiles_lie_between_figures():
    assert percentiles(torch.arange(101.0)) == pytest.approx((2.5, 97.5))
