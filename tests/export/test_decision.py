"""p-values and decisions as tensors: bit for bit those of the thresholds, ties and infinities included."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.export.decision import Decision
from backmix.threshold.by_class import decide
from backmix.threshold.conformal import ConformalThreshold

# Few different values, so that scores tie with each other and with the threshold. With 1e300 the tolerance is larger
# than most of them; among MODEST it is small, and some lie about as near to each other.
SCORES = st.sampled_from([-math.inf, -2.0, -1.0, -1e-300, 0.0, 0.1, 0.1 + 2**-56, 1.0, 1e300, math.inf])

MODEST = st.sampled_from([-math.inf, -2.0, -1e-300, 0.0, 0.1, 0.1 + 2**-56, 0.1 + 1e-6, 0.1 + 1e-5, 1.0, math.inf])


def lists(most):
    return st.lists(SCORES, min_size=1, max_size=most) | st.lists(MODEST, min_size=1, max_size=most)


def fitted(scores, accept):
    return ConformalThreshold.fit(torch.tensor(scores, dtype=torch.float64), accept)


def check_same(decision, scores, predicted, overall, by_class=None):
    p_values, answers = decision(scores, predicted)
    accepted, wanted = decide(scores, predicted, overall, by_class)
    assert p_values.dtype == torch.float64 and torch.equal(p_values, wanted)
    assert answers.dtype == torch.int64 and torch.equal(answers, torch.where(accepted, predicted, -1))


@given(lists(70), lists(9), st.sampled_from([0.5, 0.9]))
def test_it_is_decide_with_one_threshold(held, asked, accept):
    overall = fitted(held, accept)
    scores = torch.tensor(asked, dtype=torch.float64)
    check_same(Decision(3, overall), scores, torch.arange(len(scores)) % 3, overall)


@given(
    lists(40),
    st.lists(st.none() | lists(20), min_size=2, max_size=4),
    st.lists(st.tuples(SCORES | MODEST, st.integers(0, 100)), min_size=1, max_size=12),
)
def test_it_is_decide_with_a_threshold_for_some_classes(held, groups, asked):
    overall = fitted(held, 0.5)
    by_class = [group and fitted(group, 0.5) for group in groups]
    scores = torch.tensor([score for score, _ in asked], dtype=torch.float64)
    predicted = torch.tensor([number % len(groups) for _, number in asked])
    check_same(Decision(len(groups), overall, by_class), scores, predicted, overall, by_class)


def at_the_edges(*thresholds):
    """Held-out scores, what lies the tolerance above them, and the numbers just below and above each."""
    found = []
    for threshold in thresholds:
        edges = torch.cat([threshold.scores, threshold.scores + threshold.tolerance])
        end = torch.full_like(edges, math.inf)
        found += [edges, torch.nextafter(edges, end), torch.nextafter(edges, -end)]
    return torch.cat(found)


@given(lists(30), st.lists(st.none() | lists(12), min_size=1, max_size=3))
def test_it_is_decide_at_the_edge_of_every_held_out_score(held, groups):
    overall = fitted(held, 0.5)
    by_class = [group and fitted(group, 0.5) for group in groups]
    scores = at_the_edges(overall, *filter(None, by_class))
    decision = Decision(len(groups), overall, by_class)
    for number in range(len(groups)):
        check_same(decision, scores, torch.full(scores.shape, number), overall, by_class)
        # The rule once more, score by score.
        own = by_class[number] or overall
        slow = [sum(one >= score - own.tolerance for one in own.scores.tolist()) for score in scores.tolist()]
        p_values, answers = decision(scores, torch.full(scores.shape, number))
        assert p_values.tolist() == [(1 + higher) / (len(own.scores) + 1) for higher in slow]
        assert answers.tolist() == [
            number if score - own.tolerance <= own.threshold else -1 for score in scores.tolist()
        ]


def test_a_score_on_the_threshold_is_accepted_and_one_the_tolerance_above_it_is_the_last():
    overall = fitted([0.1 * number for number in range(19)], 0.95)
    at, tolerance = overall.threshold, overall.tolerance
    assert 5e-6 < tolerance < 6e-6
    asked = [at, math.nextafter(at, math.inf), at + 0.999 * tolerance, at + 1.001 * tolerance]
    scores = torch.tensor(asked, dtype=torch.float64)
    _, answers = Decision(2, overall)(scores, torch.tensor([1, 1, 1, 1]))
    assert answers.tolist() == [1, 1, 1, -1]


def test_each_class_has_the_tolerance_of_its_own_threshold():
    overall, wide = fitted([0.0, 1.0, 2.0], 0.5), fitted([0.0, 100.0, 200.0], 0.5)
    scores = torch.tensor([1 + 1e-4, 100 + 1e-4], dtype=torch.float64)
    _, answers = Decision(2, overall, [None, wide])(scores, torch.tensor([0, 1]))
    assert answers.tolist() == [-1, 1]


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
