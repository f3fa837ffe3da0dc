"""The softmax score of logits against its definition, in many digits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.methods.logit_scores import check_logits, has_float64, msp


def slow(logits):
    """Minus the log of the largest probability."""
    top = max(logits)
    return math.log1p(math.fsum(math.exp(value - top) for value in logits) - 1) if len(logits) > 1 else 0.0


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=6))
def test_it_is_minus_the_log_of_the_largest_probability(logits):
    assert msp(torch.tensor([logits], dtype=torch.float64))[0] == pytest.approx(slow(logits), abs=1e-9)


def test_confident_images_do_not_tie():
    scores = msp(torch.tensor([[700.0, 0.0], [600.0, 0.0], [60.0, 0.0]], dtype=torch.float64))
    assert 0 < scores[0] < scores[1] < scores[2] and scores.dtype == torch.float64
    assert scores[2] == pytest.approx(math.exp(-60.0))


@pytest.mark.parametrize("logits", [torch.rand(3), torch.rand(3, 1), torch.zeros(2, 3, dtype=torch.int64)])
def test_other_shapes_are_refused(logits):
    with pytest.raises(ValueError, match=r"logits must be \(B, K\) float"):
        check_logits(logits)


def test_where_there_is_no_float64():
    assert has_float64(torch.device("cpu")) and not has_float64(torch.device("mps"))
