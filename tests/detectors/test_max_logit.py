import pytest
import torch

from backmix.detectors import MaxLogit

LOGITS = 5 * torch.randn(100, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_agrees_with_a_slow_reference():
    assert MaxLogit()(LOGITS).tolist() == [-max(row) for row in LOGITS.tolist()]


def test_a_shift_of_all_logits_shifts_the_score():
    whole = LOGITS.round()
    assert torch.equal(MaxLogit()(whole + 8), MaxLogit()(whole) - 8)


def test_agrees_with_pytorch_ood():
    detector = pytest.importorskip("pytorch_ood.detector").MaxLogit
    assert torch.equal(MaxLogit()(LOGITS), detector.score(LOGITS))
