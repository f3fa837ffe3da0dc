"""From pictures to pixels: the central square, masks, normalisation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backmix.data.preprocess import Preprocess

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def picture(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_a_picture_of_the_right_size_is_not_touched():
    image = picture(32, 32)
    decoded = Preprocess(32).decode(image)
    assert decoded.dtype == torch.uint8 and decoded.shape == (3, 32, 32)
    assert np.array_equal(decoded.permute(1, 2, 0).numpy(), np.asarray(image))


@pytest.mark.parametrize(("width", "height", "box"), [(96, 32, (32, 0, 64, 32)), (32, 80, (0, 24, 32, 56))])
def test_the_central_square_is_what_remains(width, height, box):
    image = picture(width, height)
    assert torch.equal(Preprocess(32).decode(image), Preprocess(32).decode(image.crop(box)))


@given(st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=40)
def test_any_size_gives_a_square_of_the_same_colour(width, height):
    image = Image.new("RGB", (width, height), (10, 200, 90))
    decoded = Preprocess(16).decode(image)
    assert decoded.shape == (3, 16, 16)
    assert (decoded == torch.tensor([10, 200, 90])[:, None, None]).all()


def test_shrinking_averages_and_does_not_pick_pixels():
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    decoded = Preprocess(16).decode(Image.fromarray(stripes))
    assert (decoded[:, 1:-1, 1:-1].float() - 127.5).abs().max() < 8


def test_masks_follow_their_picture_and_128_is_background():
    values = np.repeat(np.array([[0, 127, 128, 129, 255]], dtype=np.uint8), 5, 0)
    mask = Image.fromarray(values).resize((40, 40), Image.Resampling.NEAREST)
    decoded = Preprocess(40).decode_mask(mask)
    assert decoded.dtype == torch.bool
    assert decoded[0].tolist() == [False] * 24 + [True] * 16
    wide = Image.new("L", (120, 40))
    wide.paste(mask, (40, 0))
    assert torch.equal(Preprocess(40).decode_mask(wide), decoded)


@pytest.mark.parametrize("preprocess", [Preprocess(8), Preprocess(8, *IMAGENET)])
def test_normalise_against_its_definition(preprocess):
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    before = images.clone()
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (preprocess.mean, preprocess.std))
    found = preprocess.normalise(images)
    assert found.dtype == torch.float32 and found.is_contiguous(memory_format=torch.channels_last)
    assert (found.double() - (images.double() / 255 - mean) / std).abs().max() < 2e-6
    assert torch.equal(images, before)


def test_normalised_values_are_those_of_the_release():
    ends = Preprocess(8).normalise(torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 8, 8))
    assert ends.amin().item() == pytest.approx(-2) and ends.amax().item() == pytest.approx(2)
    assert Preprocess(8).grey == 0


def test_grey_is_the_mean_of_normalised_mid_grey():
    preprocess = Preprocess(8, *IMAGENET)
    expected = sum((0.5 - m) / s for m, s in zip(*IMAGENET, strict=True)) / 3
    assert preprocess.grey == pytest.approx(expected)


def test_pixels_that_are_scaled_already_are_refused_and_kept():
    images = torch.rand(2, 3, 8, 8).to(memory_format=torch.channels_last)
    before = images.clone()
    with pytest.raises(ValueError, match="uint8.*float32"):
        Preprocess(8).normalise(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7,), "image_size.*7"),
        ((-32,), "image_size.*-32"),
        ((32, (0.5, 0.5), (0.1, 0.1)), "three numbers"),
        ((32, (0.5, 0.5, 0.5), (0.1, 0.0, 0.1)), "std above 0"),
    ],
)
def test_numbers_that_make_no_picture(arguments, message):
    with pytest.raises(ValueError, match=message):
        Preprocess(*arguments)


@pytest.mark.parametrize("normalisation", [((0.5,) * 3, (0.25,) * 3), IMAGENET, ((127 / 255,) * 3, (128 / 255,) * 3)])
def test_bytes_come_back_from_normalised_images(normalisation):
    preprocess = Preprocess(16, *normalisation)
    images = torch.arange(256).repeat(3)[torch.randperm(768, generator=torch.Generator().manual_seed(0))]
    images = images.view(1, 3, 16, 16).to(torch.uint8)
    assert torch.equal(preprocess.denormalise(preprocess.normalise(images)), images)
    beyond = preprocess.denormalise(preprocess.normalise(images) * 100)
    assert beyond.dtype == torch.uint8 and set(beyond.unique().tolist()) >= {0, 255}
