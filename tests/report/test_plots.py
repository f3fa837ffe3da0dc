"""What each chart shows, the same in words, and the points of ROC and OSCR."""

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import trapezoid

from backmix import metrics
from backmix.metrics.chance import p_value_bins
from backmix.report import plots
from backmix.report.plots import OperatingPoint, curves, thinned


def parts(svg, tag, kind):
    return [each for each in ElementTree.fromstring(svg).iter(tag) if kind in each.get("class").split()]


def words(svg):
    return ElementTree.fromstring(svg).get("aria-label").replace("\u00a0", " ")


def test_bars_of_scores_hold_every_image():
    random = np.random.default_rng(0)
    known, unknown = random.normal(0, 1, 300), random.normal(2, 1, 100)
    svg = plots.score_histogram(known, unknown, 1.5)
    # Both halves of the chart have one scale, so areas compare: each kind adds up to the whole.
    heights = [sum(float(bar.get("height")) for bar in parts(svg, "rect", kind)) for kind in ("known", "strange")]
    assert heights[0] == pytest.approx(heights[1], rel=0.02)
    (line,) = parts(svg, "polyline", "threshold")
    place = float(line.get("points").split(",")[0])
    for bar in parts(svg, "rect", "known") + parts(svg, "rect", "strange"):
        left = float(bar.get("x"))
        assert left >= place - 0.1 or left + float(bar.get("width")) <= place + 0.1
    assert "300 known images: median" in words(svg) and "The threshold is 1.5." in words(svg)
    share = 100 * (known > 1.5).mean()
    assert f"{share:.1f} % of them lie above the threshold" in words(svg)


@pytest.mark.parametrize("threshold", [None, math.inf])
def test_without_a_threshold_none_is_drawn(threshold):
    svg = plots.score_histogram(np.array([1.0, 2.0]), np.array([]), threshold)
    assert not parts(svg, "polyline", "threshold") and not parts(svg, "rect", "strange")
    assert "1 unknown" not in words(svg)


@pytest.mark.parametrize(
    "known", [np.array([3.0]), np.array([0.0, 0.0]), np.array([math.inf, -math.inf]), np.array([1e30, -1e30, 0.0])]
)
def test_odd_scores_still_make_a_chart(known):
    ElementTree.fromstring(plots.score_histogram(known, np.array([]), None))
    ElementTree.fromstring(plots.score_histogram(np.array([]), known, 1.0))


def test_p_values_tell_each_bin():
    bins = p_value_bins(np.arange(1, 101) / 101, np.full(100, 100))
    svg = plots.p_value_histogram(bins)
    assert len(parts(svg, "rect", "known")) == 10 and len(parts(svg, "polyline", "threshold")) == 10
    assert "in 10 bins" in words(svg) and "0 bins lie outside" in words(svg)


def test_curves_mark_the_threshold():
    random = np.random.default_rng(0)
    known, unknown, correct = random.normal(0, 1, 200), random.normal(1, 1, 200), random.random(200) < 0.8
    found = curves(known, correct, unknown)
    point = OperatingPoint(0.6, 0.95, 0.78)
    roc, oscr = plots.roc_curve(found, point, 0.76), plots.oscr_curve(found, point, 0.65)
    assert "area of 0.760" in words(roc) and "95 % of the known images are accepted and 60 %" in words(roc)
    assert "area of 0.650" in words(oscr) and "78 % of the known images are accepted and right" in words(oscr)
    for svg in (roc, oscr):
        assert len(parts(svg, "circle", "mark")) == 1
    assert not parts(plots.roc_curve(found, None, 0.76), "circle", "mark")


@pytest.mark.parametrize("values", [[1.0], [0.5, 0.5, 0.5], [0.0], [3.0, 1.0, 0.2], [0.1] * 100])
@pytest.mark.parametrize("options", [{}, {"shares": True}, {"from_zero": False}])
def test_training_curves_of_any_length(values, options):
    svg = plots.training_curve(values, "loss", **options)
    assert words(svg).startswith("loss over ")
    assert len(parts(svg, "circle", "known")) == (len(values) if len(values) <= plots.MOST_DOTS else 0)


SCORES = st.integers(1, 60).flatmap(lambda n: arrays(np.float64, n, elements=st.integers(-5, 5).map(float)))


@given(SCORES, SCORES, st.integers(0, 2**32 - 1))
def test_the_areas_under_the_curves_are_auroc_and_oscr(known, unknown, seed):
    correct = np.random.default_rng(seed).random(len(known)) < 0.6
    found = curves(known, correct, unknown)
    assert trapezoid(found.known, found.unknown) == pytest.approx(metrics.auroc(known, unknown))
    assert trapezoid(found.right, found.unknown) == pytest.approx(metrics.oscr(known, correct, unknown))
    assert (found.known[0], found.unknown[0], found.known[-1], found.unknown[-1]) == (0, 0, 1, 1)
    assert found.right[-1] == pytest.approx(correct.mean())


@given(SCORES, SCORES)
def test_thinning_keeps_a_short_curve_as_it_is(known, unknown):
    found = curves(known, np.ones(len(known), dtype=bool), unknown)
    points = thinned(found.unknown, found.known)
    assert trapezoid(points[:, 1], points[:, 0]) == pytest.approx(trapezoid(found.known, found.unknown))


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
