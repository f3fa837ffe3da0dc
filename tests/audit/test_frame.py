"""What a model sees of a picture, and of its mask."""

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.audit.frame import Frame
from backmix.data.preprocess import Preprocess


def picture(width, height):
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(40, 40), (61, 37), (20, 90), (32, 32)])
def test_a_frame_sees_what_a_run_sees(size):
    shown = picture(*size)
    assert torch.equal(Frame(32).pixels(shown), Preprocess(32).decode(shown))
    mask = shown.convert("L")
    assert torch.equal(Frame(32).mask(mask), Preprocess(32).decode_mask(mask))


def test_a_crop_shows_the_middle_of_it_and_masks_follow():
    whole = picture(64, 80)
    middle = whole.crop((16, 24, 48, 56))
    assert torch.equal(Frame(32, crop=0.5).pixels(whole), Frame(32).pixels(middle))
    assert torch.equal(Frame(32, crop=0.5).mask(whole.convert("L")), Frame(32).mask(middle.convert("L")))


def test_bicubic_is_another_picture():
    assert not torch.equal(Frame(32, bicubic=True).pixels(picture(64, 64)), Frame(32).pixels(picture(64, 64)))


def test_not_labelled_is_background():
    mask = Image.fromarray(np.array([[0, 127], [128, 255]], dtype=np.uint8)).resize((16, 16), Image.Resampling.NEAREST)
    assert Frame(16).mask(mask).float().mean() == 0.25


@pytest.mark.parametrize(("options", "said"), [({"image_size": 4}, "at least 8"), ({"crop": 0}, "above 0")])
def test_numbers_out_of_range_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Frame(**{"image_size": 32, **options})
