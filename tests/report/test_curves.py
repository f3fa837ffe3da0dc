"""Points of ROC and OSCR."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backmix import metrics
from backmix.report.curves import curves, thinned

SCORES = st.integers(1, 60).flatmap(lambda n: arrays(np.float64, n, elements=st.integers(-5, 5).map(float)))


@given(SCORES, SCORES, st.integers(0, 2**32 - 1))
def test_the_areas_under_the_curves_are_auroc_and_oscr(known, unknown, seed):
    correct = np.random.default_rng(seed).random(len(known)) < 0.6
    found = curves(known, correct, unknown)
    assert np.trapezoid(found.known, found.unknown) == pytest.approx(metrics.auroc(known, unknown))
    assert np.trapezoid(found.right, found.unknown) == pytest.approx(metrics.oscr(known, correct, unknown))
    assert (found.known[0], found.unknown[0], found.known[-1], found.unknown[-1]) == (0, 0, 1, 1)
    assert found.right[-1] == pytest.approx(correct.mean())


@given(SCORES, SCORES)
def test_thinning_keeps_a_short_curve_as_it_is(known, unknown):
    found = curves(known, np.ones(len(known), dtype=bool), unknown)
    points = thinned(found.unknown, found.known)
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(np.trapezoid(found.known, found.unknown))


def test_a_long_curve_becomes_short_and_stays_where_it_was():
    random = np.random.default_rng(0)
    known, unknown = random.normal(0, 1, 50_000), random.normal(1, 1, 50_000)
    found = curves(known, np.ones(50_000, dtype=bool), unknown)
    points = thinned(found.unknown, found.known, 300)
    assert len(points) <= 302 and points[0].tolist() == [0, 0] and points[-1].tolist() == [1, 1]
    assert (np.diff(points, axis=0) >= 0).all()
    exact = np.interp(points[:, 0], found.unknown, found.known)
    assert np.abs(exact - points[:, 1]).max() < 0.01


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="correct must be"):
        curves(np.zeros(3), np.ones(2, dtype=bool), np.zeros(3))
