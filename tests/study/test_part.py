"""Words and tables of the study's page."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmix.study.part import Table, prior_text, share, spread, to_markdown, verdict


@pytest.mark.parametrize(
    "differences, said",
    [
        ([], "not measured"),
        ([0.1], "better"),
        ([-0.1], "worse"),
        ([0.1, 0.2], "better in both"),
        ([-0.1, -0.2], "worse in both"),
        ([-0.1, 0.2], "better in 1 of 2"),
        ([0.0, -0.2], "better in 0 of 2"),
        ([0.0, 0.0], "no change"),
    ],
)
def test_verdicts(differences, said):
    assert verdict(differences) == said
    turned = said.replace("better", "x").replace("worse", "better").replace("x", "worse")
    if "of" not in said:
        assert verdict([-value for value in differences]) == turned
        assert verdict(differences, higher_is_better=False) == turned


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6))
def test_mean_and_deviation(values):
    mean, _, deviation = spread(values, digits=3).replace("−", "-").partition(" ± ")
    assert float(mean) == pytest.approx(statistics.fmean(values), abs=6e-4)
    assert float(deviation) == pytest.approx(statistics.stdev(values), abs=6e-4)


def test_numbers_as_text():
    assert share([0.5]) == "50.0" and share([]) == "–" and share([-0.123], sign=True) == "−12.3"
    assert share([-0.0001]) == "0.0" and share([0.0], sign=True) == "+0.0"
    assert prior_text(None) == "as photographed" and prior_text(1 / 6) == "0.17"


def test_a_table_as_markdown():
    text = to_markdown(Table("Title", ["a", "b"], [["1", "2"], ["3", "4"]], "A note."))
    assert text == "Title:\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n\nA note."
