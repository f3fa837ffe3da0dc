"""Cutout against one image at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.augmentations import Cutout

IMAGES = torch.randn(5, 3, 16, 12, generator=torch.Generator().manual_seed(0))


def make(seed=0, **options):
    return Cutout(generator=torch.Generator().manual_seed(seed), **options)


@given(st.integers(1, 16), st.integers(1, 16), st.floats(0, 1), st.floats(0, 1), st.integers(0, 1000))
def test_agrees_with_one_image_at_a_time(height, width, side, probability, seed):
    images = torch.rand(4, 2, height, width, generator=torch.Generator().manual_seed(seed))
    before = images.clone()
    cutout = make(seed, side=side, fill_value=-7.0, probability=probability)
    centre, given_ = draw = cutout.draw(4, height, width)
    shown = cutout.change(images, draw)
    pixels = round(side * min(height, width))
    for number in range(4):
        expected = before[number].clone()
        if given_[number]:
            top, left = (int(v) - pixels // 2 for v in centre[:, number])
            expected[:, max(0, top) : max(0, top + pixels), max(0, left) : max(0, left + pixels)] = -7
        assert torch.equal(shown[number], expected)
    assert torch.equal(images, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_is_hidden_whatever_the_numbers(dtype):
    images = torch.rand(6, 3, 16, 12).to(dtype) + 1
    hidden = make(3)(torch.ones(6, 1, 16, 12)) == 0
    shown = make(3, fill_value=-3.0)(images)
    assert shown.dtype == dtype and hidden.any() and not hidden.all()
    assert torch.equal(shown, torch.where(hidden, torch.tensor(-3.0, dtype=dtype), images))


@pytest.mark.parametrize(("pixels", "share"), [(16, 0.5), (8, 0.25), (20, 0.625)])
def test_the_paper_s_squares_at_32_pixels(pixels, share):
    """A square of L x L where it lies inside, less where it hangs over: never more, never moved inside."""
    shown = make(side=share)(torch.ones(400, 1, 32, 32))
    areas = (shown == 0).flatten(1).sum(1)
    assert areas.max() == pixels**2 and areas.min() < pixels**2 / 2


def test_images_differ_in_where_they_are_hidden():
    hidden = make()(torch.ones(8, 1, 32, 32)) == 0
    assert len({tuple(each.flatten().tolist()) for each in hidden}) == 8


def test_probability_counts_images():
    shown = make(probability=0.3)(torch.ones(3000, 1, 4, 4))
    assert (shown == 0).flatten(1).any(1).float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_follows_the_generator_keeps_layout_and_type():
    last = IMAGES.bfloat16().contiguous(memory_format=torch.channels_last)
    first, second = make(3)(last), make(3)(last)
    assert torch.equal(first, second) and first.dtype == torch.bfloat16
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(first, make(4)(last))


def test_evaluation_mode_passes_images_and_labels_stay():
    cutout, labels = make().eval(), torch.arange(5)
    assert cutout(IMAGES) is IMAGES
    assert cutout.targets(labels) == ((labels, 1.0),) and cutout.moved() is None and Cutout.after_crop


@pytest.mark.parametrize(
    ("options", "message"), [({"side": 1.5}, r"0\.\.1; got 1.5"), ({"probability": -1}, r"0\.\.1; got -1")]
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=rf"^cutout: .*{message}"):
        Cutout(**options)


def test_bad_images_are_refused_and_options_show():
    with pytest.raises(ValueError, match=r"^cutout takes normalised images .*\(3, 4, 4\)"):
        make()(torch.zeros(3, 4, 4))
    assert "side=0.25" in repr(make(side=0.25))
