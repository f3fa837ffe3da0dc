"""SVG that browsers read, with round numbers on its axes."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmix.pages.charts import Chart, ticks


@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e6), st.integers(4, 9))
def test_ticks_are_few_round_and_within(low, span, most):
    span *= max(1, abs(low))
    high = low + span
    found = ticks(low, high, most)
    assert 1 + (most >= 6) <= len(found) <= most and found == sorted(found)
    assert all(low - 1e-6 * span <= value <= high + 1e-6 * span for value in found)
    steps = {b - a for a, b in pairwise(found)}
    assert not steps or max(steps) == pytest.approx(min(steps), rel=1e-5)


def test_known_ticks():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(-0.1, 0.15, 7) == [-0.1, -0.05, 0, 0.05, 0.1, 0.15]


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0, float("inf"))])
def test_an_axis_without_length_is_refused(low, high):
    with pytest.raises(ValueError, match="from a lower to a higher"):
        ticks(low, high)


def test_all_text_is_escaped_and_the_result_is_xml():
    chart = Chart((0, 1), (0, 10))
    hostile = "<script>\"'&</script>"
    chart.axes([0, 1], [0, 10], hostile, hostile)
    chart.bar(0, 0.5, 0, 5, "known")
    chart.line([(0, 0), (1, 10)], "curve")
    chart.dot(1, 10, "mark")
    chart.text(5, 5, hostile, "label")
    root = ElementTree.fromstring(chart.svg(hostile))
    assert root.get("role") == "img" and root.get("aria-label") == hostile
    assert sum(element.text == hostile for element in root.iter("text")) == 3
    assert not list(root.iter("script"))


def test_values_lie_where_they_should():
    chart = Chart((0, 2), (0, 10), width=200, height=100, left=20, bottom=20, top=10)
    assert chart.across(0) == 20 and chart.across(2) == chart.right and chart.across(1) == (20 + chart.right) / 2
    assert chart.up(0) == 80 and chart.up(10) == 10
    chart.bar(0, 2, 5, 0, "known")
    (bar,) = ElementTree.fromstring(chart.svg("a bar")).iter("rect")
    assert (bar.get("y"), bar.get("height")) == ("45", "35")
