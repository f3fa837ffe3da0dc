from fractions import Fraction
from math import floor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.mixing.foreground import Foreground, centre_cells, pack_cells, top_cells, unpack_cells
from backmix.mixing.view import View


def slow_cell(pixel, pixels, cells):
    """Cell that holds the centre of a pixel, in exact fractions."""
    return floor(Fraction(2 * pixel + 1, 2 * pixels) * cells)


def slow_everywhere(cells, size):
    height, width = size
    return torch.stack(
        [
            torch.tensor(
                [
                    [
                        bool(image[slow_cell(y, height, image.shape[0]), slow_cell(x, width, image.shape[1])])
                        for x in range(width)
                    ]
                    for y in range(height)
                ]
            )
            for image in cells
        ]
    )


sizes = st.integers(1, 15)


@given(grid=st.integers(1, 9), height=sizes, width=sizes, seed=st.integers(0, 2**31))
def test_check_8_everywhere_is_nearest_upsampling_for_any_grid_and_size(grid, height, width, seed):
    cells = torch.rand(2, grid, grid, generator=torch.Generator().manual_seed(seed)) < 0.4
    expected = slow_everywhere(cells, (height, width))
    assert torch.equal(Foreground(cells, (height, width)).everywhere(), expected)
    if height % grid == width % grid == 0:
        blocks = cells.repeat_interleave(height // grid, 1).repeat_interleave(width // grid, 2)
        assert torch.equal(expected, blocks)


@given(data=st.data(), grid=st.integers(1, 9), height=sizes, width=sizes, seed=st.integers(0, 2**31))
def test_windows_show_what_is_everywhere(data, grid, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.rand(3, grid, grid, generator=generator) < 0.4
    view = None
    if data.draw(st.booleans()):
        boxes = torch.rand(3, 4, generator=generator)
        boxes[:, 2:] += 1
        view = View(boxes - 0.5, torch.rand(3, generator=generator) < 0.5)
    foreground = Foreground(cells, (height, width), view)
    whole = foreground.everywhere()
    side, repeat = data.draw(st.integers(1, min(height, width))), data.draw(st.integers(1, 3))
    item = torch.tensor([2, 0, 1, 2])
    corner = torch.stack(
        [
            torch.randint(height - side + 1, (4,), generator=generator),
            torch.randint(width - side + 1, (4,), generator=generator),
        ]
    )
    windows = foreground.in_windows(item, corner, side, repeat=repeat)
    assert windows.shape == (4, side, side * repeat)
    for number in range(4):
        top, left = corner[:, number].tolist()
        expected = whole[item[number], top : top + side, left : left + side]
        assert torch.equal(windows[number], expected.repeat_interleave(repeat, dim=1))


@given(seed=st.integers(0, 2**31), grid=st.integers(1, 9), height=sizes, width=sizes)
def test_through_a_view_each_pixel_looks_up_where_it_lies(seed, grid, height, width):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.rand(2, grid, grid, generator=generator) < 0.5
    boxes = torch.rand(2, 4, generator=generator) * 0.8
    boxes[:, 2:] += 0.85
    view = View(boxes, torch.tensor([False, True]))
    found = Foreground(cells, (height, width), view).everywhere()
    for image in range(2):
        top, left, bottom, right = boxes[image].double().tolist()
        for y in range(height):
            for x in range(width):
                column = width - 1 - x if image == 1 else x
                down = (top + (y + 0.5) / height * (bottom - top)) * grid
                across = (left + (column + 0.5) / width * (right - left)) * grid
                if min(abs(down - round(down)), abs(across - round(across))) < 1e-4:
                    continue  # On the border of two cells single precision may choose either.
                inside = 0 <= down < grid and 0 <= across < grid
                assert bool(found[image, y, x]) == (inside and bool(cells[image, floor(down), floor(across)]))


def test_true_masks_are_taken_as_they_are():
    masks = torch.rand(2, 5, 9) < 0.5
    foreground = Foreground.of_masks(masks)
    assert torch.equal(foreground.everywhere(), masks)
    corner = torch.tensor([[1, 2], [3, 0]])
    windows = foreground.in_windows(torch.tensor([1, 0]), corner, 3)
    assert torch.equal(windows, torch.stack([masks[1, 1:4, 3:6], masks[0, 2:5, 0:3]]))


@given(
    scores=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 1e-38, 3e38]), min_size=9, max_size=9),
    count=st.integers(1, 9),
)
def test_top_cells_are_the_highest_and_ties_go_to_the_first(scores, count):
    chosen = top_cells(torch.tensor(scores).view(1, 3, 3), count)
    order = sorted(range(9), key=lambda cell: (-scores[cell], cell))
    expected = torch.zeros(9, dtype=torch.bool)
    expected[order[:count]] = True
    assert torch.equal(chosen.flatten(), expected)


@given(seed=st.integers(0, 2**31), grid=st.integers(1, 14), batch=st.integers(1, 5), data=st.data())
def test_top_cells_mark_exactly_as_many_as_asked_for(seed, grid, batch, data):
    count = data.draw(st.integers(1, grid**2))
    scores = torch.rand(batch, grid, grid, generator=torch.Generator().manual_seed(seed))
    chosen = top_cells(scores, count).flatten(1)
    assert (chosen.sum(1) == count).all()
    flat = scores.flatten(1)
    lowest_in = flat.masked_fill(~chosen, 2).amin(1)
    highest_out = flat.masked_fill(chosen, -1).amax(1)
    assert (lowest_in >= highest_out).all()


def test_top_cells_of_maps_that_do_not_lie_in_one_piece():
    scores = torch.rand(4, 5, 5).transpose(1, 2)
    assert torch.equal(top_cells(scores, 6), top_cells(scores.contiguous(), 6))


@pytest.mark.parametrize(("grid", "count"), [(4, 4), (8, 16), (7, 9), (3, 1), (5, 25)])
def test_centre_cells_are_nearest_to_the_centre(grid, count):
    chosen = centre_cells(grid, count)[0]
    assert int(chosen.sum()) == count
    middle = (grid - 1) / 2

    def distance(cell):
        return (cell[0] - middle) ** 2 + (cell[1] - middle) ** 2

    inside = [distance(cell) for cell in chosen.nonzero().tolist()]
    outside = [distance(cell) for cell in (~chosen).nonzero().tolist()]
    assert max(inside) <= min(outside, default=float("inf"))


def test_centre_cells_that_fit_whole_rings_are_symmetric():
    chosen = centre_cells(8, 16)[0]
    assert torch.equal(chosen, chosen.flip(0)) and torch.equal(chosen, chosen.flip(1))
    assert chosen[2:6, 2:6].all()


@given(
    grid=st.sampled_from([(4, 4), (7, 7), (8, 5), (20, 20)]),
    size=st.tuples(st.integers(9, 40), st.integers(9, 40)),
    repeat=st.sampled_from([1, 3]),
    through_view=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_what_is_visible_is_what_is_not_foreground(grid, size, repeat, through_view, seed):
    generator = torch.Generator().manual_seed(seed)
    view = View(torch.tensor([[0.1, -0.2, 0.9, 0.7]]).expand(5, -1), torch.rand(5, generator=generator) < 0.5)
    foreground = Foreground(torch.rand(5, *grid, generator=generator) < 0.4, size, view if through_view else None)
    item = torch.randint(0, 5, (6,), generator=generator)
    corner = torch.stack([torch.randint(0, length - 6, (6,), generator=generator) for length in size])
    hidden = foreground.in_windows(item, corner, 7, repeat=repeat)
    visible = foreground.visible_in_windows(item, corner, 7, repeat=repeat)
    assert visible.dtype == torch.float32
    assert torch.equal(visible, 1 - hidden[:, None].float())


@given(shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 62)), seed=st.integers(0, 2**31))
def test_packed_cells_come_out_as_they_went_in(shape, seed):
    cells = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    packed = pack_cells(cells)
    assert packed.shape == shape[:2] and packed.dtype == torch.int64
    assert torch.equal(unpack_cells(packed, shape[2]), cells)


@pytest.mark.parametrize("across", [5, 8, 20])
def test_a_foreground_of_packed_cells_is_the_foreground_of_the_cells(across):
    generator = torch.Generator().manual_seed(across)
    cells = torch.rand(9, 7, across, generator=generator) < 0.4
    place = torch.tensor([8, 0, 3, 3])
    packed, plain = (
        Foreground.of_packed(pack_cells(cells), place, across, (30, 25)),
        Foreground(cells[place], (30, 25)),
    )
    item, corner = torch.tensor([1, 3, 0]), torch.tensor([[0, 22, 5], [17, 3, 9]])
    visible = packed.visible_in_windows(item, corner, 8, repeat=3)
    assert torch.equal(visible, plain.visible_in_windows(item, corner, 8, repeat=3))
    assert torch.equal(packed.in_windows(item, corner, 8), plain.in_windows(item, corner, 8))
    assert torch.equal(packed.everywhere(), plain.everywhere())
    assert torch.equal(packed.cells, cells[place])
