"""Intervals, and what chance makes of a promise."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.metrics.chance import accepted_by_chance, p_value_bins, share_of
from backmix.threshold.conformal import ConformalThreshold


def test_wilson_intervals_of_the_literature():
    # Newcombe, Statistics in Medicine 1998, table I: 81/263, 15/148, 0/20, 1/29.
    for hits, total, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
                                   (1, 29, 0.0061, 0.1718)]:  # fmt: skip
        found = share_of(hits, total)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


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
