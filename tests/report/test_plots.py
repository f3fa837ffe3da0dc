"""What each chart shows, and the same in words."""

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from backmix.metrics.chance import p_value_bins
from backmix.report import plots
from backmix.report.curves import curves
from backmix.report.plots import OperatingPoint


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
