"""Lines of the tables and bars: the right figures, in the right order, a dash where there is none; bars on tracks."""

import copy
import json

import pytest
from audit_pages import ordinary, poor, with_unknown
from hypothesis import given
from hypothesis import strategies as st

from backmix.audit import page_figures as figures
from backmix.audit.counterfactuals import SETS
from backmix.audit.page_figures import common_scale, track


def read(file):
    return json.loads((file.parent / "audit.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return read(ordinary(tmp_path_factory.mktemp("figures")))


def test_sets_come_in_their_order_with_their_bars(result):
    lines = figures.set_lines(result, None)
    assert [line.name for line in lines] == list(SETS) and all(line.seen is None for line in lines)
    for line in lines:
        assert line.track.length == pytest.approx(100 * result["accuracy"][line.name], abs=0.01)
        assert line.value in line.track.words and line.span in line.track.words and line.images == 24
    marked = [line.name for line in lines if line.track.mark is not None]
    assert marked == ["only-background"]
    kinds = {line.name: line.track.kind for line in lines}
    assert kinds["mixed-same"] == "own" and kinds["mixed-random"] == kinds["mixed-next"] == "other"


def test_classes_come_by_gap_and_those_without_last(result):
    changed = copy.deepcopy(result)
    names = list(changed["classes"])
    for name, value in zip(names, (None, 0.1, 0.5), strict=True):
        gap = None if value is None else {"value": value, "low": value - 0.2, "high": value + 0.2}
        changed["classes"][name]["background_gap"] = gap
    changed["classes"]["absent"] = copy.deepcopy(changed["classes"][names[0]]) | {"images": 0}
    lines = figures.class_lines(changed)
    assert [line.name for line in lines] == [names[2], names[1], names[0]]
    assert [line.gap for line in lines] == ["50.0", "10.0", "–"] and lines[2].track is None
    assert lines[1].span == "−10.0 to 30.0"
    # All on one scale, from -10 to 70 points.
    assert lines[0].track.zero == lines[1].track.zero == 12.5 and lines[0].track.length == 62.5


def test_summary_has_the_four_figures(result):
    made = figures.summary(result, 0.1)
    assert [figure.name for figure in made.figures] == [
        "Background gap",
        "When only the background changes",
        "Right from the background alone",
        "Right on the originals",
    ]
    assert made.figures[0].value == f"{100 * result['background_gap']['value']:.1f} points"
    assert made.more[-1].endswith("the audit fails.") and len(made.lead) == 2


def test_what_cannot_be_given_is_left_out(tmp_path):
    result = read(poor(tmp_path))
    assert [figure.name for figure in figures.summary(result, None).figures] == ["Right on the originals"]
    assert figures.change_lines(result) == [] and figures.auroc_lines(None) == []
    assert [line.title for line in figures.entropy_lines(result)] == ["On the originals"]
    assert [line.value for line in figures.set_lines(result, None)][1:] == ["–"] * 6
    assert {line.gap for line in figures.class_lines(result)} == {"–"}


def test_four_aurocs(tmp_path):
    open_set = read(with_unknown(tmp_path))["open_set"]
    lines = figures.auroc_lines(open_set)
    assert [line.title.replace(" against ", "-") for line in lines] == list(figures.PAIRS)
    assert set(figures.PAIRS) == set(open_set["auroc"])
    for line, pair in zip(lines, figures.PAIRS, strict=True):
        assert line.track.length == pytest.approx(100 * open_set["auroc"][pair]["value"], abs=0.01)
        assert line.track.mark == 50


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
