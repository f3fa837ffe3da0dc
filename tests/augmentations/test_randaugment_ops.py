"""Each operation against Pillow, which the closed-set paper uses, one picture at a time."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from backmix.augmentations.randaugment_ops import MOVING, RANGES, operate


def pictures(height=32, width=32):
    """Smooth pictures: nearest pixels at an edge between two may be either."""
    coarse = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return (F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


def from_pillow(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def to_pillow(image):
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def added(picture, value):
    return Image.fromarray((np.array(picture).astype(int) + int(value)).clip(0, 255).astype(np.uint8))


def affine(picture, *matrix):
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix)


PILLOW = {
    "autocontrast": lambda p, v: ImageOps.autocontrast(p),
    "equalize": lambda p, v: ImageOps.equalize(p),
    "invert": lambda p, v: ImageOps.invert(p),
    "rotate": lambda p, v: p.rotate(v),
    "posterize": lambda p, v: ImageOps.posterize(p, max(1, int(v))),
    "solarize": ImageOps.solarize,
    "solarize-add": lambda p, v: ImageOps.solarize(added(p, v), 128),
    "colour": lambda p, v: ImageEnhance.Color(p).enhance(v),
    "contrast": lambda p, v: ImageEnhance.Contrast(p).enhance(v),
    "brightness": lambda p, v: ImageEnhance.Brightness(p).enhance(v),
    "sharpness": lambda p, v: ImageEnhance.Sharpness(p).enhance(v),
    "shear-x": lambda p, v: affine(p, 1, v, 0, 0, 1, 0),
    "shear-y": lambda p, v: affine(p, 1, 0, 0, v, 1, 0),
    "translate-x": lambda p, v: affine(p, 1, 0, v, 0, 1, 0),
    "translate-y": lambda p, v: affine(p, 1, 0, 0, 0, 1, v),
}


def test_there_are_sixteen():
    assert len(RANGES) == 16 and {*PILLOW, "cutout"} == set(RANGES) and set(MOVING) < set(RANGES)


@pytest.mark.parametrize("strength", [0, 1, 6, 9, 15, 18, 30])
@pytest.mark.parametrize("name", PILLOW)
def test_agrees_with_pillow(name, strength):
    low, high = RANGES[name]
    value = low + (high - low) * strength / 30
    for signed in (value, -value) if name in MOVING else (value,):
        images = pictures(30, 34)
        before = images.clone()
        found = operate(name, images, signed, torch.zeros(2, 4)).int()
        expected = torch.stack([from_pillow(PILLOW[name](to_pillow(image), signed)) for image in images]).int()
        difference = (found - expected).abs()
        if name in MOVING:
            # Where two pixels are as near, either way of computing places may choose the other.
            assert (difference > 0).float().mean() < 0.01
        else:
            assert difference.max() <= 1
        assert torch.equal(images, before)


def place_before(name, value, x, y, height, width):
    """Where in the picture the point (x, y) of a moved picture was."""
    if name == "rotate":
        # Counterclockwise around the centre, y downwards.
        turn, across, down = math.radians(value), x - width / 2, y - height / 2
        return (
            math.cos(turn) * across - math.sin(turn) * down + width / 2,
            math.sin(turn) * across + math.cos(turn) * down + height / 2,
        )
    return {
        "shear-x": (x + value * y, y),
        "shear-y": (x, y + value * x),
        "translate-x": (x + value, y),
        "translate-y": (x, y + value),
    }[name]


@given(st.sampled_from(MOVING), st.floats(-1, 1), st.integers(3, 14), st.integers(3, 14), st.integers(0, 2**16))
@settings(max_examples=60)
def test_what_moves_agrees_with_a_loop_over_pixels(name, strength, height, width, seed):
    value = strength * RANGES[name][1] / (8 if name.startswith("translate") else 1)
    image = torch.randint(1, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(seed)).byte()
    found = operate(name, image, value, torch.zeros(2, 1))[0]
    for row in range(height):
        for column in range(width):
            x, y = place_before(name, value, column + 0.5, row + 0.5, height, width)
            if abs(x - round(x)) < 1e-3 or abs(y - round(y)) < 1e-3:
                continue  # On the edge between two pixels rounding decides.
            inside = 0 <= x < width and 0 <= y < height
            expected = image[0, :, math.floor(y), math.floor(x)] if inside else torch.zeros(3)
            assert torch.equal(found[:, row, column].int(), expected.int())


@given(st.floats(0, 40), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_cutout_agrees_with_a_drawn_rectangle(side, row, column):
    image = pictures(20, 30)[:1]
    found = operate("cutout", image, side, torch.tensor([[row], [column]], dtype=torch.float64))
    top, left = int(max(0.0, row * 20 - side / 2)), int(max(0.0, column * 30 - side / 2))
    picture = to_pillow(image[0])
    ImageDraw.Draw(picture).rectangle((left, top, min(30, left + side), min(20, top + side)), (125, 123, 114))
    assert torch.equal(found[0], from_pillow(picture))


def test_some_grow_weaker_with_strength():
    """Larger values keep more bits and invert fewer pixels: the paper's ranges are not mirrored."""
    images = pictures()

    def change(name, value):
        return (operate(name, images, value, torch.zeros(2, 4)).float() - images).abs().mean().item()

    assert change("posterize", 1) > change("posterize", 4) > 0
    assert change("solarize", 50) > change("solarize", 200) and change("solarize", 256) == 0
    assert change("brightness", 0.5) > change("brightness", 1.0) == 0 and change("brightness", 1.5) > 0


def test_a_translation_of_the_whole_side_leaves_black():
    assert not operate("translate-x", pictures(), 32.0, torch.zeros(2, 4)).any()
    assert not operate("translate-y", pictures(), -100.0, torch.zeros(2, 4)).any()


@pytest.mark.parametrize("name", ["autocontrast", "equalize", "contrast"])
def test_images_of_a_batch_do_not_see_each_other(name):
    images = pictures()
    together = operate(name, images, 0.5, torch.zeros(2, 4))
    apart = torch.cat([operate(name, image[None], 0.5, torch.zeros(2, 1)) for image in images])
    assert torch.equal(together, apart)
