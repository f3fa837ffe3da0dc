"""Hide-and-Seek against one cell at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.augmentations import HideAndSeek


def make(seed=0, **options):
    return HideAndSeek(generator=torch.Generator().manual_seed(seed), **options)


@given(st.integers(1, 20), st.integers(1, 20), st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(0, 2**16))
@settings(max_examples=50)
def test_agrees_with_one_cell_at_a_time(height, width, cells, seed):
    images = torch.rand(4, 2, height, width, generator=torch.Generator().manual_seed(seed))
    before = images.clone()
    hide = make(seed, cells=cells, fill_value=9.0)
    side, hidden = draw = hide.draw(4, height, width)
    shown = hide.change(images, draw)
    expected = before.clone()
    for b in range(4):
        step = int(side[b])
        if step:
            for row, top in enumerate(range(0, height, step)):
                for column, left in enumerate(range(0, width, step)):
                    if hidden[b, row, column]:
                        expected[b, :, top : top + step, left : left + step] = 9
    assert torch.equal(shown, expected) and torch.equal(images, before)


@pytest.mark.parametrize(("side", "pixels"), [(224, {0, 16, 32, 44, 56}), (32, {0, 2, 5, 6, 8}), (4, {0, 1})])
def test_sizes_are_the_paper_s_and_scale(side, pixels):
    drawn, _ = make().draw(500, side, side)
    assert set(drawn.tolist()) == pixels


def test_every_size_is_as_likely():
    drawn, _ = make().draw(10000, 224, 224)
    assert torch.stack([(drawn == size).float().mean() for size in (0, 16, 32, 44, 56)]).sub(0.2).abs().max() < 0.02


@pytest.mark.parametrize("probability", [0.0, 0.25, 0.5, 1.0])
def test_cells_are_hidden_with_their_probability(probability):
    hidden = make(cells=(0.125,), probability=probability)(torch.ones(100, 1, 16, 16)) == 0
    assert hidden.float().mean().item() == pytest.approx(probability, abs=0.02)
    # Cells are hidden whole and each on its own.
    cells = hidden.view(100, 8, 2, 8, 2)
    assert torch.equal(cells.any(4).any(2), cells.all(4).all(2))
    neighbours = (cells[:, :-1, 0, :, 0] & cells[:, 1:, 0, :, 0]).float().mean().item()
    assert neighbours == pytest.approx(probability**2, abs=0.03)


def test_one_in_five_images_stays_whole():
    shown = make()(torch.ones(2000, 1, 224 // 4, 224 // 4))
    assert (shown == 1).flatten(1).all(1).float().mean().item() == pytest.approx(0.2, abs=0.03)


def test_evaluation_mode_passes_images_and_the_generator_decides():
    images = torch.randn(6, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    assert make().eval()(images) is images
    first = make(1)(images)
    assert torch.equal(first, make(1)(images)) and not torch.equal(first, make(2)(images))
    assert first.is_contiguous(memory_format=torch.channels_last) and HideAndSeek.after_crop


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_is_hidden_whatever_the_numbers(dtype):
    images = torch.rand(6, 3, 16, 12).to(dtype) + 1
    hidden = make(3, cells=(0.25,))(torch.ones(6, 1, 16, 12)) == 0
    shown = make(3, cells=(0.25,), fill_value=-3.0)(images)
    assert shown.dtype == dtype and hidden.any() and not hidden.all()
    assert torch.equal(shown, torch.where(hidden, torch.tensor(-3.0, dtype=dtype), images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cells": ()}, r"got \(\)"),
        ({"cells": (0.5, 1.5)}, r"got \(0.5, 1.5\)"),
        ({"cells": (-0.5,)}, r"got \(-0.5,\)"),
        ({"probability": 2}, r"0\.\.1; got 2"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=rf"^hide-and-seek: .*{message}"):
        HideAndSeek(**options)


def test_bad_images_are_refused_and_options_show():
    with pytest.raises(ValueError, match=r"^hide-and-seek takes normalised images .*\(3, 4, 4\)"):
        make()(torch.zeros(3, 4, 4))
    assert "probability=0.25" in repr(make(probability=0.25)) and "cells=(0.0, 0.07" in repr(make())
