import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.detectors import MSP


def slow_msp(row):
    """Minus log of the largest probability: log(1 + share of the other classes)."""
    row = sorted(row)
    return math.log1p(math.fsum(math.exp(z - row[-1]) for z in row[:-1]))


@settings(deadline=None)
@given(st.lists(st.floats(-80, 80), min_size=2, max_size=8))
def test_agrees_with_a_slow_reference(row):
    found = MSP()(torch.tensor([row], dtype=torch.float64)).item()
    assert found == pytest.approx(slow_msp(row), rel=1e-10, abs=0)
    assert 0 <= found <= math.log(len(row)) + 1e-12


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=8))
def test_is_minus_the_log_of_the_largest_probability(row):
    logits = torch.tensor([row], dtype=torch.float64)
    assert MSP()(logits).neg().exp().item() == pytest.approx(logits.softmax(1).max().item(), rel=1e-12)


def test_confident_images_do_not_tie():
    tops = torch.tensor([0.0, 17.0, 18.0, 50.0, 60.0, 110.0, 700.0])
    logits = torch.zeros(7, 5)
    logits[:, 0] = tops
    assert logits.softmax(1)[:, 0][2:].eq(1).all()
    scores = MSP()(logits)
    assert (scores[1:] < scores[:-1]).all()
    assert scores[-1] > 0
    assert scores[3].item() == pytest.approx(4 * math.exp(-50), rel=1e-12)


def test_equal_logits_are_as_unknown_as_can_be():
    assert MSP()(torch.full((1, 8), 3.0)).item() == pytest.approx(math.log(8), rel=1e-12)
    assert MSP()(torch.tensor([[7.0, 7.0, -math.inf]])).item() == pytest.approx(math.log(2), rel=1e-12)


def test_a_shift_of_all_logits_changes_nothing():
    logits = torch.randint(-9, 9, (20, 4), generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(MSP()(logits), MSP()(logits + 1000), rtol=0, atol=0)


def test_agrees_with_pytorch_ood():
    detector = pytest.importorskip("pytorch_ood.detector").MaxSoftmax
    logits = 3 * torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(-MSP()(logits).neg().exp(), detector.score(logits))
