"""Promised against observed acceptance."""

import pytest
import torch
from report_answers import answers, thresholds

from backmix.report.promise import promise
from backmix.threshold.conformal import ConformalThreshold


def accepted(hits, total):
    return answers([("cat", "cat", number < hits, 0) for number in range(total)])


def told(hits, total, **options):
    return " ".join(promise(accepted(hits, total), thresholds(**options))).replace("\u00a0", " ")


def test_a_share_within_the_binomial_error_keeps_the_promise():
    text = told(93, 100)
    assert "Promised:" in text and "95 % or more are accepted" in text
    assert "fitted on 100 images held out" in text and "Observed: 93 of 100 accepted, 93 %" in text
    assert "lies within the binomial error: kept" in text


def test_the_error_of_a_small_calibration_counts():
    text = told(880, 1000, held_out=40)
    assert "outside the binomial error of these images alone" in text and "nothing speaks against the promise" in text


def test_less_than_chance_explains_is_said_plainly():
    text = told(500, 1000, held_out=1000)
    assert "less than 95 % by more than chance explains" in text and "backmix calibrate" in text


def test_more_than_promised_is_allowed():
    assert "The promise allows that" in told(1000, 1000, held_out=1000)


def test_thresholds_of_classes_are_counted():
    own = ConformalThreshold.fit(torch.arange(40).double(), 0.95)
    assert "1 of 2 classes has a threshold of its own" in told(95, 100, by_class=[own, None])
    assert "2 of 2 classes have thresholds of their own" in told(95, 100, by_class=[own, own])
    assert "less than 95 %" in told(880, 1000, held_out=40, by_class=[own, None])


@pytest.mark.parametrize("total", [1, 0])
def test_what_cannot_be_observed_is_not_claimed(total):
    text = told(total, total, held_out=5)
    assert ("everything is accepted" in text) == bool(total)
    assert ("Observed: nothing" in text) == (not total)


def test_before_calibration_there_is_no_promise():
    assert (
        told(5, 5, held_out=0) == "There is no threshold: everything is accepted. Fit one with backmix calibrate RUN."
    )
