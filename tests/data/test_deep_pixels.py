import numpy as np
import pytest
from deep_files import colours, png

from backmix.data.images import open_image

COLOURS = colours()


def opened(content, **options):
    return np.asarray(open_image(content, **options)).astype(int)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("factor", [16, 64, 257])
def test_16_bit_pngs_of_any_depth_and_kind(channels, factor):
    pixels = COLOURS[..., :1] if channels < 3 else COLOURS
    values = pixels.astype(np.uint16) * factor
    if channels in (2, 4):  # The left part is transparent.
        alpha = np.full(values.shape[:2], 65535, np.uint16)
        alpha[:, :4] = 0
        values = np.dstack([values, alpha])
    found = opened(png(values))
    shown = found[:, 4:] if channels in (2, 4) else found
    assert np.abs(shown - (pixels[:, 4:] if channels in (2, 4) else pixels)).max() <= 1
    if channels in (2, 4):
        assert (found[:, :4] == 255).all()


def test_colours_of_16_bits_are_rounded_not_cut_off():
    values = np.zeros((1, 3, 3), np.uint16)
    values[0, :, 0] = (128, 129, 65535)
    assert opened(png(values))[0, :, 0].tolist() == [0, 1, 255]


def test_samples_that_sbit_calls_scaled_keep_the_full_range():
    # By the standard, a sample of 12 bits is scaled to 16: a dark picture has small numbers, and is dark.
    dark = (COLOURS[..., :1] // 16).astype(np.uint16) * 257 & 0xFFF0
    assert opened(png(dark, significant=12)).max() <= 16
    assert opened(png(dark)).max() > 200  # Nothing declared, and the same numbers are taken for 12 bits.


def test_samples_that_a_program_left_as_they_are_have_the_range_of_sbit():
    dark = (COLOURS[..., :1] // 4).astype(np.uint16) * 16 + 7
    assert np.abs(opened(png(dark, significant=12))[..., 0] - COLOURS[..., 0] // 4).max() <= 1


def test_a_netpbm_file_declares_its_largest_value():
    values = (COLOURS // 4).astype(">u2") * np.array(16, ">u2")
    for content in (
        b"P6 20 12 4095\n" + values.astype(">u2").tobytes(),
        b"P5 20 12 4095\n" + values[..., 0].astype(">u2").tobytes(),
    ):
        found = opened(content)
        assert np.abs(found[..., 0] - COLOURS[..., 0] // 4).max() <= 1


def test_the_ranges_of_a_run_are_used_where_a_file_declares_none():
    values = COLOURS[..., :1].astype(np.uint16) * 4
    told = []
    assert opened(png(values), on_guess=lambda *guess: told.append(guess)).max() >= 254
    assert told == [("uint16", (0.0, 1023.0))]
    told.clear()
    found = opened(png(values), ranges={"uint16": (0.0, 4095.0)}, on_guess=told.append)
    assert np.abs(found - COLOURS[..., :1] / 4).max() <= 1 and told == []
    # What lies above goes to white.
    assert opened(png(values), ranges={"uint16": (0.0, 255.0)}).max() == 255
