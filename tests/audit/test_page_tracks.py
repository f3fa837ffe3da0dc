"""Bars with intervals: everything stays on the track and in its order."""

from hypothesis import given
from hypothesis import strategies as st

from backmix.audit.page_tracks import common_scale, track


def test_places_of_a_share():
    made = track({"value": 0.5, "low": 0.4, "high": 0.6}, "half", mark=0.25)
    assert (made.start, made.length, made.low, made.spread, made.mark, made.zero) == (0, 50, 40, 20, 25, None)


def test_a_negative_figure_lies_left_of_zero():
    made = track({"value": -0.5, "low": -1, "high": 0}, "less", scale=(-1.0, 1.0))
    assert (made.start, made.length, made.low, made.spread, made.zero) == (25, 25, 0, 50, 50)


@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 3).map(sorted), max_size=5), st.floats(-2, 2))
def test_all_stay_on_a_common_scale(figures, mark):
    given_ones = [{"low": low, "value": value, "high": high} for low, value, high in figures]
    scale = common_scale(given_ones)
    assert scale[0] <= 0 < scale[1]
    for of in given_ones:
        made = track(of, "", scale=scale, mark=mark)
        assert made.start >= 0 and made.length >= 0 and made.start + made.length <= 100.01
        assert made.low >= 0 and made.spread >= 0 and made.low + made.spread <= 100.01
        assert made.mark is not None and 0 <= made.mark <= 100
