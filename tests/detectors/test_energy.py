import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.detectors import Energy, MaxLogit

rows = st.lists(st.floats(-80, 80), min_size=2, max_size=8)


def slow_energy(row, temperature):
    return -temperature * math.log(math.fsum(math.exp(z / temperature) for z in row))


@settings(deadline=None)
@given(rows, st.sampled_from([0.5, 1.0, 2.0, 10.0]))
def test_agrees_with_a_slow_reference(row, temperature):
    found = Energy(temperature=temperature)(torch.tensor([row], dtype=torch.float64)).item()
    assert found == pytest.approx(slow_energy(row, temperature), rel=1e-10, abs=1e-10)


@settings(deadline=None)
@given(rows)
def test_lies_below_minus_the_largest_logit_by_at_most_log_k(row):
    logits = torch.tensor([row], dtype=torch.float64)
    gap = (MaxLogit()(logits) - Energy()(logits)).item()
    assert -1e-9 <= gap <= math.log(len(row)) + 1e-9


def test_does_not_overflow():
    logits = torch.tensor([[6e4, 0.0], [-6e4, -6e4]], dtype=torch.float16)
    largest = logits.double()[:, 0]
    assert Energy()(logits).tolist() == [-largest[0].item(), pytest.approx(-largest[1].item() - math.log(2))]


@pytest.mark.parametrize("temperature", [0, -1, math.inf, math.nan])
def test_bad_temperature(temperature):
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        Energy(temperature=temperature)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_agrees_with_pytorch_ood(temperature):
    detector = pytest.importorskip("pytorch_ood.detector").EnergyBased
    logits = 5 * torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(Energy(temperature=temperature)(logits), detector.score(logits, temperature))
