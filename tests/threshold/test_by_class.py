"""Thresholds by class: the promise holds within each class, small classes fall back, one rule for both."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.threshold.by_class import decide, fit_class_thresholds
from backmix.threshold.conformal import ConformalThreshold


def test_a_class_stranger_than_the_rest_is_not_rejected_more():
    random = torch.Generator().manual_seed(0)

    def draw(count):
        predicted = torch.randint(3, (count,), generator=random)
        return torch.randn(count, generator=random) + 4.0 * (predicted == 2), predicted

    scores, predicted = draw(3000)
    overall, by_class = ConformalThreshold.fit(scores, 0.9), fit_class_thresholds(scores, predicted, 3, 0.9)
    fresh, of = draw(30000)
    together = decide(fresh, of, overall)[0]
    apart = decide(fresh, of, overall, by_class)[0]
    assert float(together[of == 2].float().mean()) < 0.75 and bool(together[of == 0].all())
    for number in range(3):
        # Binomial deviation of the threshold's and the test's images: under 0.012.
        assert abs(float(apart[of == number].float().mean()) - 0.9) < 0.04
    assert abs(float(together.float().mean()) - 0.9) < 0.03


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 3)), min_size=1, max_size=120), st.integers(-10, 10))
def test_is_the_slow_rule(rows, score):
    """Class by class, image by image: count the held-out images of the same answer that are as strange.

    These scores are whole numbers, and every tolerance is far below one.
    """
    scores = torch.tensor([float(value) for value, _ in rows])
    predicted = torch.tensor([number for _, number in rows])
    overall, by_class = ConformalThreshold.fit(scores, 0.75), fit_class_thresholds(scores, predicted, 4, 0.75)
    accepted, p_values = decide(torch.full((4,), float(score)), torch.arange(4), overall, by_class)
    for number in range(4):
        group = [value for value, of in rows if of == number]
        if len(group) < 3:  # Fewer than that cannot reject at 0.75.
            assert by_class[number] is None
            group = [value for value, _ in rows]
        p_value = (1 + sum(value >= score for value in group)) / (len(group) + 1)
        assert p_values[number] == pytest.approx(p_value)
        assert bool(accepted[number]) == (p_value > 0.25 + 1e-12)


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"one class an image; got \(2,\) for \(3,\)"):
        fit_class_thresholds(torch.zeros(3), torch.zeros(2, dtype=torch.int64), 2)


def test_nothing_to_decide():
    overall = ConformalThreshold.fit(torch.arange(40.0))
    accepted, p_values = decide(torch.empty(0), torch.empty(0, dtype=torch.int64), overall, [overall, None])
    assert accepted.shape == p_values.shape == (0,)
