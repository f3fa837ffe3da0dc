"""Smooth p-values against their definition one score at a time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.detectors.reference_scores import ReferenceScores

numbers = st.floats(-1e4, 1e4).map(lambda x: round(x, 3))


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def slow_log_p(reference, score):
    held, count = reference.scores.tolist(), len(reference.scores)
    if score >= held[-1]:
        return -math.log(count + 1) - (score - held[-1]) / reference.high
    if score < held[0]:
        return math.log(1 - math.exp(-(held[0] - score) / reference.low) / (count + 1))
    i = max(n for n in range(count) if held[n] <= score)
    share = (score - held[i]) / (held[i + 1] - held[i])
    return math.log((count - i - share) / (count + 1))


def test_known_answers():
    reference = ReferenceScores.of(tensor(4, 1, 2))
    # The excesses over the lowest score are 1 and 3; under the highest, 2 and 3.
    assert reference.scores.tolist() == [1, 2, 4] and reference.high == 2 and reference.low == 2.5
    p = reference.log_p(tensor(1, 2, 3, 4, 6, -1.5)).exp().tolist()
    assert p == pytest.approx([3 / 4, 2 / 4, 1.5 / 4, 1 / 4, math.exp(-1) / 4, 1 - math.exp(-1) / 4])


@settings(deadline=None)
@given(st.lists(numbers, min_size=1, max_size=40), st.lists(numbers, min_size=1, max_size=20))
def test_agrees_with_the_definition_and_never_rises(held, scores):
    reference = ReferenceScores.of(tensor(*held))
    assert reference.high > 0 and reference.low > 0
    asked = tensor(*sorted([*scores, *held]))
    found = reference.log_p(asked)
    expected = [slow_log_p(reference, score) for score in asked.tolist()]
    torch.testing.assert_close(found, tensor(*expected), rtol=1e-9, atol=1e-12)
    assert (found.diff() <= 1e-14).all() and (found <= 0).all()


@settings(deadline=None)
@given(st.lists(numbers, min_size=1, max_size=40, unique=True))
def test_just_above_each_reference_it_is_the_plain_p_value(held):
    reference = ReferenceScores.of(tensor(*held))
    plain = [(sum(r > s for r in held) + 1) / (len(held) + 1) for s in held]
    torch.testing.assert_close(reference.log_p(tensor(*held)).exp(), tensor(*plain), rtol=1e-9, atol=0)


def test_the_order_goes_on_far_beyond_both_ends():
    reference = ReferenceScores.of(torch.randn(200, generator=torch.Generator().manual_seed(0)).double())
    for power in (1, 3, 6, 12):
        far = reference.scores[-1] + 10.0**power * (1 + torch.arange(50).double() / 50)
        assert (reference.log_p(far).diff() < 0).all()
    low = reference.scores[0] - torch.arange(50).double() / 20
    assert (reference.log_p(low).diff() > 0).all()


def test_the_tail_is_that_of_an_exponential_distribution():
    uniform = (torch.arange(20_000).double() + 0.5) / 20_000
    reference = ReferenceScores.of(-5 * uniform.log())
    assert reference.high == pytest.approx(5, rel=0.02)
    assert reference.log_p(tensor(40, 60, 100)).tolist() == pytest.approx([-8, -12, -20], rel=0.1)


@pytest.mark.parametrize("held", [[3.0], [3.0, 3.0, 3.0], [0.0], [1e-30, 1e-30]])
def test_equal_references_still_give_an_order(held):
    reference = ReferenceScores.of(tensor(*held))
    log_p = reference.log_p(tensor(held[0] - 2, held[0] - 1, held[0], held[0] + 1, held[0] + 2))
    assert (log_p.diff() < 0).all() and log_p.isfinite().all()
    assert log_p[2].exp().item() == pytest.approx(1 / (len(held) + 1))


def test_values_that_are_not_finite():
    inf = math.inf
    log_p = ReferenceScores.of(tensor(1, 2, 4)).log_p(tensor(inf, -inf, math.nan))
    assert log_p[0] == -inf and log_p[1] == 0 and log_p[2].isnan()


def test_bad_references():
    for scores in (tensor(), torch.rand(2, 2), torch.arange(3)):
        with pytest.raises(ValueError, match=r"reference scores must be \(N,\) float, of one known image or more; got"):
            ReferenceScores.of(scores)
    with pytest.raises(ValueError, match="2 of 3 reference scores are not finite"):
        ReferenceScores.of(tensor(1, math.nan, math.inf))
