import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.mixing.draw import Draw
from backmix.mixing.foreground import Foreground
from backmix.mixing.paste import (
    background_statistics,
    paste_patches,
    pasted_cells,
    swap_backgrounds,
    swapped_cells,
    whole_cells,
)


def draw_of(cut, paste, side, donor, noise=None):
    """One patch per image at the given (top, left) corners."""
    corners = torch.stack([torch.tensor(places).T[None] for places in (cut, paste)])
    return Draw(torch.tensor(donor), torch.ones(len(donor), dtype=torch.bool), corners, side, None, noise)


ALL = torch.tensor([True, True])


def test_a_patch_lands_where_it_was_drawn_to():
    images = torch.arange(2 * 1 * 4 * 5.0).view(2, 1, 4, 5)
    draw = draw_of(cut=[(0, 1), (2, 3)], paste=[(1, 0), (0, 0)], side=2, donor=[1, 0])
    result = paste_patches(images, draw, ALL, None, 0.0)
    expected = images.clone()
    expected[0, 0, 1:3, 0:2] = images[1, 0, 0:2, 1:3]
    expected[1, 0, 0:2, 0:2] = images[0, 0, 2:4, 3:5]
    assert torch.equal(result, expected)


def test_later_patches_lie_on_earlier_ones_and_all_are_cut_from_the_originals():
    images = torch.stack([torch.zeros(1, 3, 3), torch.arange(1.0, 10).view(1, 3, 3)])
    corners = torch.tensor([[[0, 0], [0, 0]], [[1, 0], [1, 0]]])  # To cut from, and the same to paste into.
    draw = Draw(torch.tensor([1, 0]), ALL, torch.stack([corners, corners]), side=2)
    result = paste_patches(images, draw, ALL, None, 0.0)
    assert torch.equal(result[0, 0], torch.tensor([[1.0, 2, 0], [4, 5, 6], [0, 8, 9]]))
    # The second image takes the zeros of the first, not what was pasted into it just before.
    assert torch.equal(result[1, 0], torch.tensor([[0.0, 0, 3], [0, 0, 6], [7, 8, 9]]))


@pytest.mark.parametrize("fill_value", [0.0, -1.5, 0.3])
def test_masked_pixels_take_the_fill_value_exactly(fill_value):
    images = torch.randn(2, 3, 4, 4)
    cells = torch.zeros(2, 2, 2, dtype=torch.bool)
    cells[1, 0, 1] = True
    draw = draw_of(cut=[(0, 0), (0, 0)], paste=[(0, 0), (0, 0)], side=4, donor=[1, 0])
    result = paste_patches(images, draw, ALL, Foreground(cells, (4, 4)), fill_value)
    expected = images[[1, 0]]
    expected[0, :, :2, 2:] = fill_value
    assert torch.equal(result, expected)


def test_bytes_are_filled_with_a_grey_of_bytes():
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    cells = torch.ones(2, 1, 1, dtype=torch.bool)
    draw = draw_of(cut=[(0, 0), (0, 0)], paste=[(1, 1), (2, 2)], side=2, donor=[1, 0])
    result = paste_patches(images, draw, ALL, Foreground(cells, (4, 4)), 128.0)
    assert result.dtype == torch.uint8
    assert (result[0, :, 1:3, 1:3] == 128).all() and (result[1, :, 2:, 2:] == 128).all()


def test_noise_does_not_wrap_round_in_bytes():
    images = torch.cat([torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 255)]).to(torch.uint8)
    images[:, :, ::2] = 128
    noise = torch.full((1, 2, 1, 4, 4), 5.0)
    noise[0, 0] = -5.0
    cells = torch.zeros(2, 4, 4, dtype=torch.bool)
    cells[:, 1, 1] = True
    draw = draw_of(cut=[(0, 0), (0, 0)], paste=[(0, 0), (0, 0)], side=4, donor=[0, 1], noise=noise)
    result = paste_patches(images, draw, ALL, Foreground(cells, (4, 4)), None)
    assert int(result[0, 0, 1, 1]) == 0 and int(result[1, 0, 1, 1]) == 255


@given(seed=st.integers(0, 2**31), grid=st.integers(1, 6), height=st.integers(2, 9), width=st.integers(2, 9))
def test_statistics_are_those_of_the_background_pixels(seed, grid, height, width):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(3, 2, height, width, generator=generator)
    foreground = Foreground(torch.rand(3, grid, grid, generator=generator) < 0.5, (height, width))
    mean, deviation = background_statistics(images, foreground)
    hidden = foreground.everywhere()
    for image in range(3):
        for channel in range(2):
            pixels = images[image, channel][~hidden[image]]
            expected = (float(pixels.mean()), float(pixels.std(correction=0))) if len(pixels) else (0.0, 0.0)
            found = (float(mean[image, channel]), float(deviation[image, channel]))
            assert found == pytest.approx(expected, abs=1e-5)


@given(
    seed=st.integers(0, 2**31),
    grid=st.integers(1, 9),
    height=st.integers(1, 16),
    width=st.integers(1, 16),
    patches=st.integers(1, 3),
    data=st.data(),
)
def test_pasted_cells_are_those_that_share_area_with_a_patch(seed, grid, height, width, patches, data):
    side = data.draw(st.integers(1, min(height, width)))
    generator = torch.Generator().manual_seed(seed)
    places = [torch.randint(length - side + 1, (patches, 4), generator=generator) for length in (height, width)]
    paste = torch.stack(places, 1)
    mixed = torch.tensor([True, True, False, True])
    found = pasted_cells(paste, side, mixed, (height, width), grid)
    for image in range(4):
        for row in range(grid):
            for column in range(grid):
                # In units of 1 / grid pixels, so that all numbers are whole.
                hit = any(
                    row * height < (top + side) * grid
                    and (row + 1) * height > top * grid
                    and column * width < (left + side) * grid
                    and (column + 1) * width > left * grid
                    for top, left in paste[:, :, image].tolist()
                )
                assert bool(found[image, row, column]) == (hit and bool(mixed[image]))


@given(seed=st.integers(0, 2**31), grid=st.integers(1, 9), height=st.integers(1, 12), width=st.integers(1, 12))
def test_whole_cells_touch_no_false_pixel(seed, grid, height, width):
    pixels = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed)) < 0.9
    found = whole_cells(pixels, grid)
    for image in range(2):
        for row in range(grid):
            for column in range(grid):
                touched = [
                    bool(pixels[image, y, x])
                    for y in range(height)
                    for x in range(width)
                    if row * height < (y + 1) * grid
                    and (row + 1) * height > y * grid
                    and column * width < (x + 1) * grid
                    and (column + 1) * width > x * grid
                ]
                assert bool(found[image, row, column]) == all(touched)
    assert torch.equal(swapped_cells(pixels, grid), ~found)


def test_a_swap_keeps_the_object_and_nothing_else():
    images = torch.randn(2, 3, 4, 4)
    cells = torch.tensor([[[True, False], [False, False]], [[False, False], [False, True]]])
    draw = draw_of(cut=[(0, 0), (0, 0)], paste=[(0, 0), (0, 0)], side=1, donor=[1, 0])
    result, own = swap_backgrounds(images, draw, ALL, Foreground(cells, (4, 4)), 0.25)
    expected = images[[1, 0]]
    expected[0, :, 2:, 2:] = 0.25  # The donor's own object would show here.
    expected[1, :, :2, :2] = 0.25
    expected[0, :, :2, :2] = images[0, :, :2, :2]
    expected[1, :, 2:, 2:] = images[1, :, 2:, 2:]
    assert torch.equal(result, expected)
    assert own[0, :2, :2].all() and own[1, 2:, 2:].all() and int(own.sum()) == 8
