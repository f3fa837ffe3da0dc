"""Beta from a torch generator, against what is known of the distribution."""

import pytest
import torch

from backmix.augmentations.drawing import device_of, draw_beta


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 4.0])
def test_mean_and_variance_are_those_of_beta(alpha):
    drawn = draw_beta(alpha, 100_000, torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.float32 and drawn.min() >= 0 and drawn.max() <= 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.02)


def test_tiny_alpha_gives_no_nan():
    assert draw_beta(1e-4, 10_000, torch.Generator().manual_seed(0)).isfinite().all()


def test_follows_the_generator_and_moves_it():
    generator = torch.Generator().manual_seed(3)
    first, second = draw_beta(1.0, 4, generator), draw_beta(1.0, 4, generator)
    assert not torch.equal(first, second)
    assert torch.equal(first, draw_beta(1.0, 4, torch.Generator().manual_seed(3)))


def test_the_global_generator_draws_where_none_is_given():
    torch.manual_seed(5)
    first = draw_beta(1.0, 3, None)
    torch.manual_seed(5)
    assert torch.equal(first, draw_beta(1.0, 3, None)) and device_of(None).type == "cpu"
