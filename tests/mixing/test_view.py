import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.mixing import View
from backmix.mixing.view import from_view, to_view


def random_view(batch, generator, *, inside=False):
    """Boxes of 0.4 to 0.9 of the extent; wholly inside the image, or anywhere near it."""
    extent = 0.4 + 0.5 * torch.rand(batch, 2, generator=generator)
    corner = torch.rand(batch, 2, generator=generator) * ((1 - extent) if inside else 1.0)
    if not inside:
        corner = corner - 0.3
    return View(torch.cat([corner, corner + extent], 1), torch.rand(batch, generator=generator) < 0.5)


def slope(batch, height, width):
    """Maps that rise evenly, which bilinear sampling reproduces without error: 1 + 2 y - 3 x at fractions y, x."""
    y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    return (1 + 2 * y[:, None] - 3 * x).expand(batch, -1, -1).contiguous()


def slow_fractions(view, image, row, column, height, width):
    top, left, bottom, right = view.boxes[image].double().tolist()
    if view.flip[image]:
        column = width - 1 - column
    return top + (row + 0.5) / height * (bottom - top), left + (column + 0.5) / width * (right - left)


@given(seed=st.integers(0, 2**31), height=st.integers(1, 12), width=st.integers(1, 12))
def test_fractions_equal_the_loop(seed, height, width):
    view = random_view(3, torch.Generator().manual_seed(seed))
    y, x = view.fractions(torch.arange(height).expand(3, -1), torch.arange(width).expand(3, -1), height, width)
    for image in range(3):
        for row in range(height):
            for column in range(width):
                expected = slow_fractions(view, image, row, column, height, width)
                assert (float(y[image, row]), float(x[image, column])) == pytest.approx(expected, abs=1e-5)


def test_the_whole_image_unmirrored_changes_nothing():
    view = View(torch.tensor([[0.0, 0, 1, 1]]).expand(4, -1), torch.zeros(4, dtype=torch.bool))
    maps = torch.rand(4, 7, 5)
    for mode in ("bilinear", "nearest"):
        torch.testing.assert_close(to_view(maps, view, (7, 5), mode=mode), maps)
        back, seen = from_view(maps, view, (7, 5), mode=mode)
        torch.testing.assert_close(back, maps)
        assert seen.all()


def test_mirrored_and_back():
    view = View(torch.tensor([[0.0, 0, 1, 1]]).expand(4, -1), torch.ones(4, dtype=torch.bool))
    maps = torch.rand(4, 6, 5)
    torch.testing.assert_close(to_view(maps, view, (6, 5)), maps.flip(2))
    torch.testing.assert_close(from_view(maps, view, (6, 5))[0], maps.flip(2))


@given(seed=st.integers(0, 2**31), height=st.integers(6, 20), width=st.integers(6, 20))
def test_what_is_seen_of_a_slope_lies_where_fractions_say(seed, height, width):
    view = random_view(3, torch.Generator().manual_seed(seed))
    shown = to_view(slope(3, height, width), view, (9, 7))
    y, x = view.fractions(torch.arange(9).expand(3, -1), torch.arange(7).expand(3, -1), 9, 7)
    expected = 1 + 2 * y[:, :, None] - 3 * x[:, None, :]
    # Half a cell from the border there is no second cell to interpolate with.
    rim_y, rim_x = 0.5 / height + 1e-4, 0.5 / width + 1e-4
    inner = ((y > rim_y) & (y < 1 - rim_y))[:, :, None] & ((x > rim_x) & (x < 1 - rim_x))[:, None, :]
    torch.testing.assert_close(shown[inner], expected[inner], atol=1e-4, rtol=0)
    outside = ((y < -1e-4) | (y > 1 + 1e-4))[:, :, None] | ((x < -1e-4) | (x > 1 + 1e-4))[:, None, :]
    assert (shown[outside] == 0).all()


@given(seed=st.integers(0, 2**31))
def test_back_from_the_view_is_the_inverse(seed):
    view = random_view(4, torch.Generator().manual_seed(seed))
    whole = slope(4, 16, 12)
    back, seen = from_view(to_view(whole, view, (40, 40)), view, (16, 12))
    y, x = (torch.arange(16) + 0.5) / 16, (torch.arange(12) + 0.5) / 12
    for image in range(4):
        top, left, bottom, right = view.boxes[image]
        expected = ((y > top) & (y < bottom))[:, None] & ((x > left) & (x < right))
        on_border = (torch.minimum((y - top).abs(), (y - bottom).abs()) < 1e-4)[:, None] | (
            torch.minimum((x - left).abs(), (x - right).abs()) < 1e-4
        )
        assert torch.equal(seen[image][~on_border], expected[~on_border])
        # Away from the border of the image and of the view everything comes back.
        rows = (y > max(float(top), 0) + 0.08) & (y < min(float(bottom), 1) - 0.08)
        columns = (x > max(float(left), 0) + 0.08) & (x < min(float(right), 1) - 0.08)
        inner = rows[:, None] & columns
        torch.testing.assert_close(back[image][inner], whole[image][inner], atol=1e-3, rtol=0)
    assert (back[~seen] == 0).all()


@given(seed=st.integers(0, 2**31))
def test_nearest_back_from_the_view_looks_up_one_cell(seed):
    view = random_view(2, torch.Generator().manual_seed(seed), inside=True)
    maps = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(seed + 1))
    back, seen = from_view(maps, view, (9, 11), mode="nearest")
    for image in range(2):
        top, left, bottom, right = view.boxes[image].double().tolist()
        for row in range(9):
            for column in range(11):
                down = ((row + 0.5) / 9 - top) / (bottom - top) * 5
                across = ((column + 0.5) / 11 - left) / (right - left) * 6
                if view.flip[image]:
                    across = 6 - across
                if min(abs(down - round(down)), abs(across - round(across))) < 1e-3:
                    continue  # On the border of two cells single precision may choose either.
                inside = 0 < down < 5 and 0 < across < 6
                assert bool(seen[image, row, column]) == inside
                if inside:
                    assert back[image, row, column] == maps[image, int(down), int(across)]


def test_half_precision_maps_come_back_as_floats():
    view = random_view(2, torch.Generator().manual_seed(0))
    maps = torch.rand(2, 4, 4).bfloat16()
    assert to_view(maps, view, (4, 4)).dtype == torch.float32
    assert from_view(maps, view, (4, 4))[0].dtype == torch.float32


def test_moving_a_view():
    view = random_view(2, torch.Generator().manual_seed(0))
    moved = view.to("meta")
    assert moved.boxes.device.type == moved.flip.device.type == "meta"
    assert torch.equal(view.to("cpu").boxes, view.boxes)


@pytest.mark.parametrize(
    ("boxes", "flip", "message"),
    [
        (torch.rand(3), torch.zeros(3, dtype=torch.bool), r"boxes must be \(B, 4\).*got \(3,\)"),
        (torch.rand(3, 5), torch.zeros(3, dtype=torch.bool), r"boxes must be \(B, 4\).*got \(3, 5\)"),
        (torch.tensor([[0.0, 0, 1, 1]]), torch.zeros(2, dtype=torch.bool), r"flip must be \(1,\) like boxes"),
        (torch.tensor([[0.5, 0, 0.5, 1]]), torch.zeros(1, dtype=torch.bool), "bottom > top and right > left"),
        (torch.tensor([[0.0, 0.8, 1, 0.2]]), torch.zeros(1, dtype=torch.bool), "bottom > top and right > left"),
        (torch.tensor([[0.0, float("nan"), 1, 1]]), torch.zeros(1, dtype=torch.bool), "bottom > top"),
    ],
)
def test_views_that_cannot_be(boxes, flip, message):
    with pytest.raises(ValueError, match=message):
        View(boxes, flip)
