import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from backmix.mixing import FlipCrop, View
from backmix.mixing.view import to_view


def slow_flip_crop(images, view, pad, padding):
    """Pad, cut and mirror one image after the other."""
    height, width = images.shape[2:]
    result = []
    for image, box, flip in zip(images.numpy(), view.boxes, view.flip, strict=True):
        margin = ((0, 0), (pad, pad), (pad, pad))
        padded = np.pad(image, margin, mode="reflect") if padding == "reflect" else np.pad(image, margin)
        top, left = pad + round(float(box[0]) * height), pad + round(float(box[1]) * width)
        crop = padded[:, top : top + height, left : left + width]
        result.append(torch.from_numpy((crop[:, :, ::-1] if flip else crop).copy()))
    return torch.stack(result)


@given(
    seed=st.integers(0, 2**31),
    height=st.integers(2, 12),
    width=st.integers(2, 12),
    channels=st.integers(1, 4),
    padding=st.sampled_from(["reflect", "zeros"]),
    last=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.uint8]),
    data=st.data(),
)
def test_equals_padding_and_slicing_one_by_one(seed, height, width, channels, padding, last, dtype, data):
    pad = data.draw(st.integers(0, min(height, width) - 1))
    generator = torch.Generator().manual_seed(seed)
    images = (torch.rand(5, channels, height, width, generator=generator) * 255).to(dtype)
    if last:
        images = images.contiguous(memory_format=torch.channels_last)
    before = images.clone()
    crop = FlipCrop(pad, 0.5, padding=padding, generator=generator)
    shown, view = crop(images)
    assert torch.equal(shown, slow_flip_crop(images, view, pad, padding))
    assert shown.dtype == dtype and shown.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_half_precision_is_kept():
    images = torch.rand(4, 3, 8, 8)
    crop = FlipCrop(2)
    view = crop.draw(4, 8, 8)
    shown = crop.apply(images.bfloat16(), view)
    assert shown.dtype == torch.bfloat16
    assert torch.equal(shown, crop.apply(images, view).bfloat16())


def test_neither_pad_nor_flip_changes_nothing():
    images = torch.rand(4, 3, 9, 6)
    shown, view = FlipCrop(0, 0.0)(images)
    assert torch.equal(shown, images)
    assert torch.equal(view.boxes, torch.tensor([[0.0, 0, 1, 1]]).expand(4, -1)) and not view.flip.any()


@given(seed=st.integers(0, 2**31), size=st.sampled_from([(32, 32), (20, 12), (7, 9)]))
def test_the_view_tells_to_the_pixel_what_was_shown(seed, size):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(6, 1, *size, generator=generator)
    shown, view = FlipCrop(3, padding="zeros", generator=generator)(images)
    torch.testing.assert_close(shown[:, 0], to_view(images[:, 0], view, size, mode="nearest"), atol=0, rtol=0)


def test_shifts_are_uniform_and_flips_as_often_as_asked_for():
    crop = FlipCrop(2, 0.3, generator=torch.Generator().manual_seed(0))
    view = crop.draw(50_000, 8, 16)
    down, across = (view.boxes[:, 0] * 8).round().long() + 2, (view.boxes[:, 1] * 16).round().long() + 2
    for shift in (down, across):
        assert chisquare(torch.bincount(shift, minlength=5).numpy()).pvalue > 1e-4
    assert float(view.flip.float().mean()) == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(view.boxes[:, 2:] - view.boxes[:, :2], torch.ones(50_000, 2))


def test_zoom_shows_a_slope_where_the_view_says():
    height, width = 24, 20
    y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    images = (1 + 2 * y[:, None] - 3 * x).expand(8, 2, -1, -1).contiguous()
    crop = FlipCrop(2, zoom=0.25, generator=torch.Generator().manual_seed(0))
    shown, view = crop(images)
    extent = view.boxes[:, 2:] - view.boxes[:, :2]
    assert extent.min() >= 0.75 - 1e-6 and extent.max() <= 1.25 + 1e-6 and extent.std() > 0.05
    down, across = view.fractions(torch.arange(height).expand(8, -1), torch.arange(width).expand(8, -1), height, width)
    expected = (1 + 2 * down[:, :, None] - 3 * across[:, None, :])[:, None].expand_as(shown)
    inside = ((down > 0.03) & (down < 0.97))[:, :, None] & ((across > 0.03) & (across < 0.97))[:, None, :]
    inside = inside[:, None].expand_as(shown)
    torch.testing.assert_close(shown[inside], expected[inside], atol=1e-4, rtol=0)


@pytest.mark.parametrize("zoom", [0.0, 0.2])
def test_the_same_seed_shows_the_same_and_another_does_not(zoom):
    images = torch.rand(16, 3, 12, 12)

    def show(seed):
        return FlipCrop(3, zoom=zoom, generator=torch.Generator().manual_seed(seed))(images)[0]

    assert torch.equal(show(1), show(1))
    assert not torch.equal(show(1), show(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pad": -1}, "pad is a number of pixels, 0 or more; got -1"),
        ({"flip": 1.5}, "flip is a probability, 0..1; got 1.5"),
        ({"flip": -0.1}, "flip is a probability, 0..1; got -0.1"),
        ({"padding": "edge"}, "padding is 'reflect' or 'zeros'; got 'edge'"),
        ({"zoom": 1.0}, "zoom is a share of the extent"),
    ],
)
def test_options_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        FlipCrop(**arguments)


def test_images_that_do_not_fit():
    with pytest.raises(ValueError, match=r"cannot reflect 4 pixels of a 4x9 image"):
        FlipCrop(4)(torch.rand(2, 3, 4, 9))
    FlipCrop(4, padding="zeros")(torch.rand(2, 3, 4, 9))
    with pytest.raises(ValueError, match=r"images must be \(B, C, H, W\); got \(3, 8, 8\)"):
        FlipCrop()(torch.rand(3, 8, 8))


@pytest.mark.parametrize("top", [-2.0, -1.0, 1.0, 2.0])
def test_a_shift_by_a_whole_image_or_more_leaves_nothing_of_it(top):
    view = View(torch.tensor([[top, 0.0, top + 1, 1.0]]), torch.tensor([True]))
    assert not FlipCrop(4, padding="zeros").apply(torch.ones(1, 3, 4, 9), view).any()


def test_a_view_of_our_own_is_applied():
    images = torch.arange(16.0).view(1, 1, 4, 4)
    view = View(torch.tensor([[0.25, 0.0, 1.25, 1.0]]), torch.tensor([True]))
    expected = torch.tensor([[7.0, 6, 5, 4], [11, 10, 9, 8], [15, 14, 13, 12], [0, 0, 0, 0]])
    assert torch.equal(FlipCrop(1, padding="zeros").apply(images, view)[0, 0], expected)
