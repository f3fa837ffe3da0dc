import pickle
import time

import numpy as np
import pytest
import torch

from backmix.data.digits import DEFAULT_KNOWN, SPLITS, DigitsOnTextures, _digits_of
from backmix.data.source import ImageSource, count_per_class
from backmix.errors import DataError

KNOWN_LABELS = [2, 9, 2, 5, 8, 9, 5, 6, 4, 9, 1, 4]
KNOWN_TEXTURES = [2, 2, 2, 5, 2, 1, 5, 3, 4, 1, 1, 4]
KNOWN_PIXELS = [46, 60, 60, 61, 45, 59, 58, 59, 89, 103, 103, 104]
KNOWN_MEAN = 127.2053
KNOWN_AREA = 184934


@pytest.fixture(scope="module")
def train():
    return DigitsOnTextures("train")


def test_shapes_and_kinds(train):
    arrays = train.arrays()
    assert isinstance(train, ImageSource) and len(train) == 1078
    assert arrays.images.shape == (1078, 3, 32, 32) and arrays.images.dtype == torch.uint8
    assert arrays.masks.shape == (1078, 32, 32) and arrays.masks.dtype == torch.bool
    assert arrays.labels.dtype == arrays.textures.dtype == torch.int64
    assert torch.equal(arrays.labels, train.labels)
    assert train.classes == list("0123456789") and "".join(DEFAULT_KNOWN) == "012345"
    assert arrays is train.arrays()


def test_reading_one_by_one_gives_the_arrays(train):
    arrays = train.arrays()
    for i in (0, 500, 1077):
        assert np.array_equal(np.asarray(train.read(i)), arrays.images[i].permute(1, 2, 0))
        assert np.array_equal(np.asarray(train.read_mask(i)) == 255, arrays.masks[i])
        assert train.read(i).mode == "RGB" and train.read_mask(i).mode == "L"
    assert train.name(0).startswith(f"digits:train[0] ({train.labels[0]} on ")
    with pytest.raises(IndexError):
        train.read(1078)


def test_splits_are_stratified_and_share_no_digit_whatever_the_seed():
    digits = [_digits_of(split) for split in SPLITS]
    together = np.concatenate([images.reshape(len(images), -1) for images, _ in digits])
    assert len(together) == 1797 == len(np.unique(together, axis=0))
    for (_, numbers), share in zip(digits, SPLITS.values(), strict=True):
        assert np.abs(np.bincount(numbers) - share * 179.7).max() < 4
    assert torch.equal(DigitsOnTextures("test", seed=0).labels, DigitsOnTextures("test", seed=5).labels)


@pytest.mark.parametrize("prior", [0.0, 0.5, 0.8, 1.0])
def test_texture_goes_with_the_class_at_the_prior(prior):
    arrays = DigitsOnTextures("train", prior=prior, image_size=16, copies=3).arrays()
    known = arrays.labels < 6
    assert set(arrays.textures.tolist()) == set(range(6))
    same = (arrays.textures == arrays.labels)[known].double().mean()
    assert abs(same - prior) <= 4 * (prior * (1 - prior) / int(known.sum())) ** 0.5
    for number in range(6):
        chosen = arrays.textures[arrays.labels == number]
        other = torch.bincount(chosen[chosen != number], minlength=6)
        assert other[number] == 0
        if prior < 0.9:
            expected = len(chosen) * (1 - prior) / 5
            assert (other[torch.arange(6) != number] - expected).abs().max() < 4 * expected**0.5


def test_unknown_digits_stand_on_known_textures_evenly():
    arrays = DigitsOnTextures("train", prior=0.95, image_size=16, copies=3).arrays()
    for number in range(6, 10):
        counts = torch.bincount(arrays.textures[arrays.labels == number], minlength=10)
        expected = counts.sum() / 6
        assert counts[6:].sum() == 0 and (counts[:6] - expected).abs().max() < 4 * expected**0.5


def test_other_known_classes_bring_their_own_textures():
    arrays = DigitsOnTextures("val", prior=1.0, known="97", image_size=16).arrays()
    assert set(arrays.textures.tolist()) == {7, 9}
    for number in (7, 9):
        assert (arrays.textures[arrays.labels == number] == number).all()
    assert set(DigitsOnTextures("val", prior=0.0, known="3", image_size=16).arrays().textures.tolist()) == {3}


def test_the_mask_is_where_the_stroke_is(train):
    # The same digits in the same places and colours on other textures: what stays is the stroke.
    here, there = train.arrays(), DigitsOnTextures("train", prior=0.1).arrays()
    other = here.textures != there.textures
    assert torch.equal(here.masks, there.masks) and other.sum() > 300
    masks = here.masks[other].double()
    changed = (here.images[other].double() - there.images[other].double()).abs().mean(1)
    inner = -torch.nn.functional.max_pool2d(-masks, 3, 1, 1)
    outer = 1 - torch.nn.functional.max_pool2d(masks, 5, 1, 2)
    assert (changed * inner).sum() / inner.sum() < 1 < 12 < (changed * outer).sum() / outer.sum()
    share = here.masks.double().mean((1, 2))
    assert share.min() > 0.05 and share.max() < 0.4


def test_strokes_are_visible_but_not_by_brightness_alone(train):
    arrays = train.arrays()
    brightness = (arrays.images.double() / 255 * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    masks = arrays.masks.double()
    stroke = (brightness * masks).sum((1, 2)) / masks.sum((1, 2))
    ground = (brightness * (1 - masks)).sum((1, 2)) / (1 - masks).sum((1, 2))
    contrast = stroke - ground
    assert contrast.abs().min() > 0.12 and 0.2 < contrast.abs().mean() < 0.3
    assert 0.3 < (contrast > 0).double().mean() < 0.7
    # No brightness threshold, from either side, finds the strokes of all images: pixels overlap widely.
    levels = torch.linspace(0, 1, 41)
    for sign in (1, -1):
        hit = [((sign * brightness > sign * level) == arrays.masks).double().mean((1, 2)).mean() for level in levels]
        assert max(hit) < 0.9


@pytest.mark.parametrize("contrast", [0.1, 0.25, 0.4])
def test_contrast_is_what_was_asked_for_and_moves_the_strokes_alone(train, contrast):
    reference, other = train.arrays(), DigitsOnTextures("train", contrast=contrast).arrays()
    ground = ~torch.nn.functional.max_pool2d(reference.masks[:, None].float(), 7, 1, 3).bool()[:, 0]
    assert torch.equal(reference.masks, other.masks) and torch.equal(reference.textures, other.textures)
    moved = (reference.images != other.images).any(1) & ground
    assert moved.double().mean() < 1e-3  # Ink too thin to count as digit.
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    brightness = (other.images.double() / 255 * weights).sum(1)
    inner = -torch.nn.functional.max_pool2d(-reference.masks.double(), 3, 1, 1)
    whole = inner.sum((1, 2)) > 4  # Thin strokes blend into the texture everywhere.
    stroke = (brightness * inner).sum((1, 2))[whole] / inner.sum((1, 2))[whole]
    level = (brightness * ground).sum((1, 2))[whole] / ground.sum((1, 2))[whole]
    assert (stroke - level).abs().median() == pytest.approx(contrast, rel=0.05)


def test_options_leave_alone_what_they_do_not_concern(train):
    reference = train.arrays()
    stronger = DigitsOnTextures("train", prior=0.95).arrays()
    same = reference.textures == stronger.textures
    assert 0.7 < same.double().mean() < 1
    assert torch.equal(reference.images[same], stronger.images[same]) and torch.equal(reference.masks, stronger.masks)
    twice = DigitsOnTextures("train", copies=2)
    assert len(twice) == 2156 and count_per_class(twice)["0"] == 2 * count_per_class(train)["0"]
    assert torch.equal(twice.arrays().images[:1078], reference.images)
    assert (twice.arrays().images[1078:] != reference.images).flatten(1).any(1).all()


def test_rendering_depends_on_seed_and_split_alone(train):
    again, other = DigitsOnTextures("train"), DigitsOnTextures("train", seed=1)
    for mine, theirs in zip(train.arrays(), again.arrays(), strict=True):
        assert torch.equal(mine, theirs)
    assert (train.arrays().images != other.arrays().images).flatten(1).any(1).all()
    unpickled = pickle.loads(pickle.dumps(again))
    assert torch.equal(unpickled.arrays().images, train.arrays().images)


def test_rendering_is_that_of_every_other_machine(train):
    # Known answers; half a step of the 256 leaves room for sine and cosine of another processor.
    arrays = train.arrays()
    assert arrays.labels[:12].tolist() == KNOWN_LABELS
    assert arrays.textures[:12].tolist() == KNOWN_TEXTURES
    assert arrays.images[0, :, 16, ::8].flatten().tolist() == pytest.approx(KNOWN_PIXELS, abs=1)
    assert float(arrays.images.double().mean()) == pytest.approx(KNOWN_MEAN, abs=1e-3)
    assert int(arrays.masks.sum()) == pytest.approx(KNOWN_AREA, abs=3)


def test_rendering_is_quick():
    source = DigitsOnTextures("train", copies=2)
    len(source)
    start = time.process_time()
    source.arrays()
    # Measured: 0.8 s for 2156 images; the limit leaves room for a slow, busy machine.
    assert time.process_time() - start < 6


@pytest.mark.parametrize("size", [16, 48])
def test_any_size_shows_the_same_picture(train, size):
    small = DigitsOnTextures("train", image_size=size).arrays()
    assert small.images.shape[2:] == (size, size)
    assert torch.equal(small.textures, train.arrays().textures)
    areas = [masks.double().mean((1, 2)) for masks in (small.masks, train.arrays().masks)]
    assert (areas[0] - areas[1]).abs().max() < 0.06


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "valid"}, "the splits train, val, test; got 'valid'"),
        ({"prior": 1.1}, "prior is a rate"),
        ({"prior": float("nan")}, "prior is a rate"),
        ({"image_size": 8}, "image_size must be at least 16"),
        ({"contrast": 0.0}, "contrast is a difference in brightness"),
        ({"contrast": float("nan")}, "contrast is a difference in brightness"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"copies": 0}, "copies at least 1"),
        ({"copies": 10**12}, "at most 2,147,483,648 pixels"),
        ({"image_size": 10**6}, "at most 2,147,483,648 pixels"),
        ({"known": ""}, "known must be different digits"),
        ({"known": "011"}, "known must be different digits"),
        ({"known": ["cat"]}, "known must be different digits"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(DataError, match=message):
        DigitsOnTextures(**options)
