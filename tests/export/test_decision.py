"""p-values and decisions as tensors: bit for bit those of the thresholds, ties and infinities included."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.class_thresholds import decide
from backmix.export.decision import Decision
from backmix.threshold import ConformalThreshold

# Few different values, so that scores tie with each other and with the threshold.
SCORES = st.sampled_from([-math.inf, -2.0, -1.0, -1e-300, 0.0, 0.1, 0.1 + 2**-56, 1.0, 1e300, math.inf])


def fitted(scores, accept):
    return ConformalThreshold.fit(torch.tensor(scores, dtype=torch.float64), accept)


def check_same(decision, scores, predicted, overall, by_class=None):
    p_values, answers = decision(scores, predicted)
    accepted, wanted = decide(scores, predicted, overall, by_class)
    assert p_values.dtype == torch.float64 and torch.equal(p_values, wanted)
    assert answers.dtype == torch.int64 and torch.equal(answers, torch.where(accepted, predicted, -1))


@given(st.lists(SCORES, min_size=1, max_size=70), st.lists(SCORES, min_size=1, max_size=9), st.sampled_from([0.5, 0.9]))
def test_it_is_decide_with_one_threshold(held, asked, accept):
    overall = fitted(held, accept)
    scores = torch.tensor(asked, dtype=torch.float64)
    check_same(Decision(3, overall), scores, torch.arange(len(scores)) % 3, overall)


@given(
    st.lists(SCORES, min_size=1, max_size=40),
    st.lists(st.none() | st.lists(SCORES, min_size=1, max_size=20), min_size=2, max_size=4),
    st.lists(st.tuples(SCORES, st.integers(0, 100)), min_size=1, max_size=12),
)
def test_it_is_decide_with_a_threshold_for_some_classes(held, groups, asked):
    overall = fitted(held, 0.5)
    by_class = [group and fitted(group, 0.5) for group in groups]
    scores = torch.tensor([score for score, _ in asked], dtype=torch.float64)
    predicted = torch.tensor([number % len(groups) for _, number in asked])
    check_same(Decision(len(groups), overall, by_class), scores, predicted, overall, by_class)


def test_a_score_on_the_threshold_is_accepted_and_the_next_number_is_not():
    overall = fitted([0.1 * number for number in range(19)], 0.95)
    at = overall.threshold
    scores = torch.tensor([math.nextafter(at, -math.inf), at, math.nextafter(at, math.inf)], dtype=torch.float64)
    _, answers = Decision(2, overall)(scores, torch.tensor([1, 1, 1]))
    assert answers.tolist() == [1, 1, -1]


def test_many_held_out_scores_and_a_float32_score_among_them():
    held = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    overall = ConformalThreshold.fit(held, 0.95)
    check_same(Decision(2, overall), held[:500].double(), torch.zeros(500, dtype=torch.int64), overall)


def test_a_score_that_is_no_number_is_unknown_with_the_smallest_p_value():
    p_values, answers = Decision(2, fitted([0.0, 1.0, 2.0], 0.5))(torch.tensor([math.nan]).double(), torch.tensor([1]))
    assert answers.tolist() == [-1] and p_values.tolist() == [0.25]


def test_thresholds_that_are_not_one_a_class():
    overall = fitted([0.0], 0.5)
    with pytest.raises(ValueError, match="one threshold a class; got 1 for 2"):
        Decision(2, overall, [None])
