"""CutMix against the paper's box, pixel by pixel; what it shares with mixup is in test_label_mixing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.augmentations import CutMix


def make(seed=0, **options):
    return CutMix(probability=1.0, generator=torch.Generator().manual_seed(seed), **options)


@given(st.integers(1, 5), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**16))
def test_agrees_with_a_loop_and_labels_go_by_the_area_left(batch, height, width, seed):
    images = torch.arange(batch * 2 * height * width, dtype=torch.float32).view(batch, 2, height, width)
    draw = make(seed).draw(batch, height, width)
    mixed = make().change(images, draw)
    top, left, bottom, right = draw.box
    assert 0 <= top <= bottom <= height and 0 <= left <= right <= width
    for b in range(batch):
        kept = 0
        for y in range(height):
            for x in range(width):
                inside = top <= y < bottom and left <= x < right
                source = int(draw.partner[b]) if inside else b
                assert torch.equal(mixed[b, :, y, x], images[source, :, y, x])
                kept += not inside
        assert draw.share == pytest.approx(kept / (height * width))


def test_the_box_has_the_paper_s_size_where_it_is_not_cut_off():
    mix = make()
    whole = [d.box for d in (mix.draw(1, 64, 32) for _ in range(300)) if d.box[0] > 0 and d.box[2] < 64]
    whole = [box for box in whole if box[1] > 0 and box[3] < 32]
    assert len(whole) > 30
    for top, left, bottom, right in whole:
        # Twice as high as wide, to the pixel that each half loses.
        assert (bottom - top) % 2 == (right - left) % 2 == 0 and abs((bottom - top) - 2 * (right - left)) <= 4


@pytest.mark.parametrize("side", [31, 32])
def test_a_box_of_known_area(side, monkeypatch):
    monkeypatch.setattr("backmix.augmentations.cutmix.draw_beta", lambda alpha, count, g: torch.tensor([0.75]))
    mix = make()
    areas = set()
    for _ in range(200):
        top, left, bottom, right = mix.draw(1, side, side).box
        areas.add((bottom - top, right - left))
    half = int(side * 0.5) // 2
    assert max(areas) == (2 * half, 2 * half)
    # A centre in the corner keeps a quarter of the box.
    assert min(high for high, _ in areas) <= half + 1 and min(high for high, _ in areas) >= half


def test_centres_lie_anywhere():
    mix = make(alpha=1e6)
    covered = torch.zeros(16, 16)
    for _ in range(800):
        top, left, bottom, right = mix.draw(1, 16, 16).box
        covered[top:bottom, left:right] += 1
    # Of the centres, 11 in 16 per side cover the middle pixel, 5 or 6 the corner: cutting off, not pushing inside.
    assert covered[0, 0] / covered[8, 8] < 0.5 and covered[0, 0] > 0


def test_default_probability_is_that_of_small_images():
    assert CutMix().probability == 0.5
