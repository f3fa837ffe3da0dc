"""Intervals, and what chance makes of a promise."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from backmix.metrics.chance import accepted_by_chance, accepted_in_the_long_run, p_value_bins, share_of, wilson
from backmix.threshold.conformal import ConformalThreshold


def test_wilson_intervals_of_the_literature():
    # Newcombe, Statistics in Medicine 1998, table I: 81/263, 15/148, 0/20, 1/29.
    for hits, total, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
                                   (1, 29, 0.0061, 0.1718)]:  # fmt: skip
        found = share_of(hits, total)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_wilson_by_the_textbook():
    assert wilson(15, 20) == pytest.approx((0.5313, 0.8881), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)


def test_wilson_of_many_is_that_of_scipy_for_each():
    hits, tries = np.array([[0, 3, 7], [5, 10, 499]]), np.array([[4, 9, 7], [40, 11, 1000]])
    ends = np.stack(wilson(hits, tries), -1)
    for place in np.ndindex(hits.shape):
        one = binomtest(int(hits[place]), int(tries[place])).proportion_ci(method="wilson")
        assert ends[place] == pytest.approx([one.low, one.high], abs=1e-12)


@given(st.integers(1, 5000), st.data())
def test_an_interval_holds_its_share_and_stays_within_0_and_1(total, data):
    hits = data.draw(st.integers(0, total))
    found = share_of(hits, total)
    assert 0 <= found.low <= found.value <= found.high <= 1 and found.holds(found.value)
    mirrored = share_of(total - hits, total)
    assert mirrored.low == pytest.approx(1 - found.high, abs=1e-12)


def test_no_images_make_no_share():
    assert share_of(0, 0) is None
    with pytest.raises(ValueError, match="3 of 2"):
        share_of(3, 2)


def test_an_interval_holds_the_truth_95_times_in_100():
    drawn = np.random.default_rng(0).binomial(150, 0.9, 4000)
    held = np.mean([share_of(int(hits), 150).holds(0.9) for hits in drawn])
    assert 0.93 < held < 0.97


@pytest.mark.parametrize(("held_out", "accept", "tested"), [(50, 0.95, 100), (200, 0.9, 60), (19, 0.95, 500)])
def test_acceptance_by_chance_is_what_real_thresholds_do(held_out, accept, tested):
    random = torch.Generator().manual_seed(0)
    low, high = accepted_by_chance(held_out, accept, tested)
    shares = []
    for _ in range(1000):
        threshold = ConformalThreshold.fit(torch.rand(held_out, generator=random).double(), accept)
        shares.append(float(threshold.accept(torch.rand(tested, generator=random)).double().mean()))
    inside = np.mean([low <= share <= high for share in shares])
    assert 0.94 <= inside <= 1
    # And it is no wider than it must be.
    assert np.mean([low < share < high for share in shares]) < 0.99


def test_too_few_to_reject_any_accept_all():
    assert accepted_by_chance(18, 0.95, 40) == (1.0, 1.0)
    assert accepted_in_the_long_run(18, 0.95) == (1.0, 1.0)


def test_the_long_run_is_what_many_tested_images_come_to():
    low, high = accepted_in_the_long_run(200, 0.9)
    assert low < 0.9 < high
    wider = accepted_by_chance(200, 0.9, 10**6)  # 95 instead of 90 of 100.
    assert wider[0] < low < high < wider[1]
    with_one, without = accepted_in_the_long_run(19, 0.95), (0.05 ** (1 / 19), 0.95 ** (1 / 19))
    assert with_one == pytest.approx(without)  # The highest of 19 scores.


@pytest.mark.parametrize(("size", "bins"), [(162, 10), (48, 10), (9, 10), (3, 10), (0, 10), (100, 7)])
def test_each_possible_p_value_falls_into_the_bin_that_expects_it(size, bins):
    values = np.arange(1, size + 2) / (size + 1)
    found = p_value_bins(values, np.full(size + 1, size), bins)
    assert found.counts.tolist() == pytest.approx(found.expected.tolist())
    assert found.counts.sum() == size + 1
    assert (found.low <= found.expected + 1e-9).all() and (found.expected <= found.high + 1e-9).all()


def test_bins_of_classes_with_thresholds_of_their_own_add_up():
    held_out = np.array([19] * 40 + [99] * 60)
    random = np.random.default_rng(0)
    p_values = (random.integers(0, held_out + 1) + 1) / (held_out + 1)
    found = p_value_bins(p_values, held_out)
    assert found.counts.sum() == 100 and found.expected.sum() == pytest.approx(100)
    assert ((found.low <= found.counts) & (found.counts <= found.high)).all()


def test_the_range_of_a_bin_holds_19_of_20_calibrations():
    random = torch.Generator().manual_seed(1)
    inside = []
    for _ in range(200):
        threshold = ConformalThreshold.fit(torch.rand(80, generator=random).double())
        p_values = threshold.p_value(torch.rand(120, generator=random)).numpy()
        found = p_value_bins(p_values, np.full(120, 80))
        inside.append((found.low <= found.counts) & (found.counts <= found.high))
    assert 0.94 < np.mean(inside) < 0.99
