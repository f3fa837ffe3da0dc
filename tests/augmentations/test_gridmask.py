"""GridMask against loops over pixels, and against the stripes of the paper drawn on a canvas and turned."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backmix.augmentations import GridMask
from backmix.augmentations.gridmask import GridMaskDraw


def make(seed=0, **options):
    return GridMask(generator=torch.Generator().manual_seed(seed), **options)


def draw_of(period, down, across, angle, given_=True):
    return GridMaskDraw(
        torch.tensor([period]),
        torch.tensor([[down], [across]]),
        torch.tensor([angle]),
        torch.tensor([given_]),
    )


def hidden_by(mask, height, width, draw):
    return mask.change(torch.ones(len(draw.period), 1, height, width), draw)[:, 0] == 0


@given(st.integers(1, 20), st.integers(1, 20), st.floats(0.1, 1), st.integers(1, 10), st.integers(0, 2**16))
@settings(max_examples=40)
def test_agrees_with_a_loop_over_pixels(height, width, shortest, tenths, seed):
    mask = make(seed, shortest=shortest, ratio=tenths / 10)
    draw = mask.draw(3, height, width)
    found = hidden_by(mask, height, width, draw)
    for b in range(3):
        period, angle = int(draw.period[b]), math.radians(int(draw.angle[b]))
        kept = -(-period * tenths // 10)
        for y in range(height):
            for x in range(width):
                v, u = y - (height - 1) / 2, x - (width - 1) / 2
                row = math.cos(angle) * v + math.sin(angle) * u + 1e-3
                column = math.cos(angle) * u - math.sin(angle) * v + 1e-3
                if abs(row - round(row)) < 1e-4 or abs(column - round(column)) < 1e-4:
                    continue  # On the edge between two pixels rounding decides.
                inside = [
                    (math.floor(place) + int(offset)) % period >= kept
                    for place, offset in zip((row, column), draw.offset[:, b])
                ]
                assert bool(found[b, y, x]) == (all(inside) and bool(draw.given[b]))


@pytest.mark.parametrize("angle", [0, 90, 180, 270, 37])
@pytest.mark.parametrize("period", [14, 20, 31])
def test_agrees_with_stripes_on_a_canvas_turned_as_a_picture(angle, period):
    side, canvas, down, across = 32, 3 * 32, 5, 9
    found = hidden_by(GridMask(), side, side, draw_of(period, down, across, angle))[0]
    stripe = math.ceil(period * 0.6)
    grid = np.full((canvas, canvas), 255, np.uint8)
    # The origin of the grid is the centre of the image.
    rows = (np.arange(canvas) - canvas // 2 + down) % period
    columns = (np.arange(canvas) - canvas // 2 + across) % period
    grid[rows < stripe] = 0
    grid[:, columns < stripe] = 0
    turned = np.asarray(Image.fromarray(grid).rotate(angle))[side : 2 * side, side : 2 * side] > 0
    # Edges may differ by the rounding of two ways to turn.
    agreement = (found.numpy() == turned).mean()
    assert agreement == 1 if angle % 90 == 0 else agreement > 0.95


def test_squares_are_hidden_and_stripes_kept():
    """Mode 1: of a period of 10, squares of 4 x 4 with 6 between them."""
    found = hidden_by(GridMask(), 20, 20, draw_of(10, 0, 0, 0))[0]
    assert found.sum() == 4 * 16
    rows = found.any(1)
    assert rows.sum() == 8 and torch.equal(found, rows[:, None] & found.any(0))


def test_the_area_hidden_on_average():
    hidden = make(probability=1.0)(torch.ones(600, 1, 64, 64)) == 0
    # (1 - 0.6)^2 is 0.16, a little less as stripes are rounded up.
    assert 0.14 < hidden.float().mean().item() < 0.165


@pytest.mark.parametrize(("side", "low", "high"), [(224, 96, 223), (32, 14, 31)])
def test_periods_scale_with_the_image(side, low, high):
    period = make().draw(4000, side, side).period
    assert (int(period.min()), int(period.max())) == (low, high)


def test_draws_stay_in_their_ranges_and_reach_them():
    draw = make(rotate=4, shortest=0.1, longest=0.2).draw(3000, 50, 80)
    assert draw.period.unique().tolist() == [5, 6, 7, 8, 9] and draw.angle.unique().tolist() == [0, 1, 2, 3]
    assert (draw.offset >= 0).all() and (draw.offset < draw.period).all()
    assert (draw.offset == draw.period - 1).any() and (draw.offset == 0).any()
    assert draw.given.float().mean().item() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_ratio_at_its_ends_hides_all_or_nothing(ratio):
    hidden = make(ratio=ratio, probability=1.0)(torch.ones(4, 1, 16, 16)) == 0
    assert hidden.all() if ratio == 0 else not hidden.any()


def test_evaluation_mode_passes_images_and_the_generator_decides():
    images = torch.randn(6, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    before = images.clone()
    assert make().eval()(images) is images
    first = make(1, fill_value=5.0)(images)
    assert torch.equal(first, make(1, fill_value=5.0)(images)) and not torch.equal(
        first, make(2, fill_value=5.0)(images)
    )
    assert torch.equal(images, before) and (first[first != images] == 5).all()
    assert first.is_contiguous(memory_format=torch.channels_last) and GridMask.after_crop


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_is_hidden_whatever_the_numbers(dtype):
    images = torch.rand(6, 3, 16, 12).to(dtype) + 1
    hidden = make(3, probability=1.0)(torch.ones(6, 1, 16, 12)) == 0
    shown = make(3, probability=1.0, fill_value=-3.0)(images)
    assert shown.dtype == dtype and hidden.any() and not hidden.all()
    assert torch.equal(shown, torch.where(hidden, torch.tensor(-3.0, dtype=dtype), images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shortest": 0}, "got 0 and 1.0"),
        ({"shortest": 0.5, "longest": 0.4}, "got 0.5 and 0.4"),
        ({"ratio": 1.1}, r"0\.\.1; got 1.1"),
        ({"rotate": 0}, "1 or more; got 0"),
        ({"probability": 2}, r"0\.\.1; got 2"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=rf"^gridmask: .*{message}"):
        GridMask(**options)


def test_bad_images_are_refused_and_options_show():
    with pytest.raises(ValueError, match=r"^gridmask takes normalised images .*\(3, 4, 4\)"):
        make()(torch.zeros(3, 4, 4))
    assert "ratio=0.5" in repr(make(ratio=0.5)) and "rotate=360" in repr(make())
