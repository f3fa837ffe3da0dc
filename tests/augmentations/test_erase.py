"""Cutout against one image at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.augmentations.erase import Erase


@given(st.integers(4, 20), st.integers(4, 20), st.floats(0, 1), st.integers(0, 1000))
def test_agrees_with_one_image_at_a_time(height, width, side, seed):
    images = torch.rand(3, 2, height, width) + 1
    before = images.clone()
    erase = Erase(side, generator=torch.Generator().manual_seed(seed))
    centre = erase.draw(3, height, width)
    shown = erase.apply(images, centre)
    pixels = round(side * min(height, width))
    for number in range(3):
        expected = before[number].clone()
        top, left = (int(v) - pixels // 2 for v in centre[:, number])
        expected[:, max(0, top) : max(0, top + pixels), max(0, left) : max(0, left + pixels)] = 0
        assert torch.equal(shown[number], expected)
    assert torch.equal(images, before)


def test_centres_reach_every_pixel_alike():
    row, column = Erase(generator=torch.Generator().manual_seed(0)).draw(40000, 4, 8)
    assert torch.bincount(row, minlength=4).float().div(40000).sub(1 / 4).abs().max() < 0.01
    assert torch.bincount(column, minlength=8).float().div(40000).sub(1 / 8).abs().max() < 0.01


def test_keeps_the_layout_and_repeats():
    images = torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
    first, second = (Erase(0.5, generator=torch.Generator().manual_seed(2))(images) for _ in range(2))
    assert torch.equal(first, second)
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"0..1; got 2"):
        Erase(2)
    with pytest.raises(ValueError, match=r"\(3, 4, 4\)"):
        Erase()(torch.zeros(3, 4, 4))
