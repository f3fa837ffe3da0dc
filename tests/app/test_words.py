"""Sentences say what the numbers say."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.app.words import how_strange, in_hundred, what_it_means, why
from backmix.threshold.conformal import ConformalThreshold


@pytest.mark.parametrize(
    ("p_value", "held_out", "said"),
    [
        (0.031, 200, "Of 100 known photographs, about 3 look at least this strange."),
        (0.0125, 800, "Of 100 known photographs, about 1 looks at least this strange."),
        (0.004, 999, "Of 1000 known photographs, about 4 look at least this strange."),
        (1 / 126, 125, "None of the 125 known photographs it is compared to looks this strange."),
        (1.0, 125, "Nearly every known photograph looks at least this strange."),
    ],
)
def test_how_strange(p_value, held_out, said):
    assert how_strange(p_value, held_out) == said


@given(st.integers(1, 5000), st.data())
def test_the_count_is_the_p_value(held_out, data):
    stranger = data.draw(st.integers(0, held_out))
    p_value = (1 + stranger) / (held_out + 1)
    said = how_strange(p_value, held_out)
    assert ("None of" in said) == (stranger == 0)
    if numbers := re.match(r"Of (\d+) .* about (\d+) ", said):
        base, count = map(int, numbers.groups())
        assert abs(count / base - p_value) <= 0.5 / base + 1e-9 or count == 1


@pytest.mark.parametrize(
    ("share", "said"), [(0.05, "5 in 100"), (0.5, "50 in 100"), (0.125, "12.5 in 100"), (0.001, "1 in 1000")]
)
def test_in_hundred(share, said):
    assert in_hundred(share) == said


def test_why():
    threshold = ConformalThreshold.fit(torch.arange(40.0), 0.95)
    assert why(True, threshold).startswith("Called known, because more than 5 in 100 ")
    assert why(False, threshold).startswith("Called unknown, because at most 5 in 100 ")
    assert (
        why(True, ConformalThreshold.fit(torch.arange(40.0), 0.999)) == "Every picture is called known at this share."
    )
    assert "about 10 in 100 will be called unknown" in what_it_means(0.9)
