import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from backmix.data.digits import DigitsOnTextures
from backmix.foregrounds.centre import centre_mask

pytest.importorskip("skimage")

from foregrounds_pictures import disc_on_stripes, overlap, square_on_gradient

from backmix.foregrounds.saliency import SaliencyForeground


def closed_off_by_flooding(value):
    """For each pixel: lowest highest value on a path of eight neighbours to the border, minus its own; one by one."""
    height, width = value.shape
    level = np.full(value.shape, np.inf)
    level[[0, -1]], level[:, [0, -1]] = value[[0, -1]], value[:, [0, -1]]
    changed = True
    while changed:
        changed = False
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                best = max(value[y, x], level[y - 1 : y + 2, x - 1 : x + 2].min())
                if best < level[y, x]:
                    level[y, x], changed = best, True
    return level - value


def test_a_bright_square_on_a_smooth_slope_is_found():
    picture, mask = square_on_gradient()
    found = SaliencyForeground().estimate(picture)
    assert overlap(found, mask) > 0.9


def test_a_disc_on_stripes_is_found():
    picture, mask = disc_on_stripes()
    assert overlap(SaliencyForeground().estimate(picture), mask) > 0.85


def test_a_grey_picture_is_enough_whatever_its_mode():
    picture, mask = square_on_gradient()
    grey = picture.convert("L")
    found = SaliencyForeground().estimate(grey)
    assert overlap(found, mask) > 0.7
    assert np.array_equal(found, SaliencyForeground().estimate(grey.convert("RGB")))


def test_digits_on_textures_are_found():
    source = DigitsOnTextures("train")
    estimator = SaliencyForeground()
    overlaps = [overlap(estimator.estimate(source.read(i)), np.array(source.read_mask(i)) > 0) for i in range(20)]
    assert np.mean(overlaps) > 0.85


def test_large_pictures_are_answered_at_their_own_size():
    picture, mask = square_on_gradient((300, 200), 90, (50, 110))
    estimator = SaliencyForeground(working_size=64)
    found, soft = estimator.estimate(picture), estimator.saliency(picture)
    assert found.shape == soft.shape == (200, 300)
    assert found.dtype == bool and soft.dtype == np.float32
    assert overlap(found, mask) > 0.8


def test_the_soft_map_points_at_the_object_and_stays_in_range():
    picture, mask = square_on_gradient()
    soft = SaliencyForeground().saliency(picture)
    assert soft.min() >= 0 and soft.max() <= 1
    assert mask.ravel()[soft.argmax()]
    assert soft[mask].mean() > 0.8 > 0.2 > soft[~mask].mean()


def test_closed_off_agrees_with_flooding_from_the_border():
    random = np.random.default_rng(3)
    lab = random.normal(50, 20, (9, 12, 3))
    edge = np.zeros((9, 12), dtype=bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    colours = lab[edge]
    spread, axes = np.linalg.eigh(np.cov(colours.T, bias=True) + 10 * np.eye(3))
    values = (lab - colours.mean(0)) @ axes / np.sqrt(spread)
    slow = sum(closed_off_by_flooding(sign * values[..., k]) ** 2 for k in range(3) for sign in (1, -1))
    np.testing.assert_allclose(SaliencyForeground()._closed_off(lab, edge), np.sqrt(slow), atol=1e-9)


def test_what_touches_no_border_but_shows_its_colour_is_not_closed_off_more_than_the_texture():
    lab = np.zeros((20, 20, 3))
    lab[..., 0] = 40 + 20 * (np.indices((20, 20)).sum(0) // 2 % 2)
    lab[9:12, 9:12, 0] = 95
    edge = np.zeros((20, 20), dtype=bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    depth = SaliencyForeground()._closed_off(lab, edge)
    assert depth[9:12, 9:12].min() > 2 * np.delete(depth.ravel(), np.flatnonzero((lab[..., 0] == 95).ravel())).max()


@pytest.mark.parametrize("size", [(16, 16), (200, 6), (6, 200), (1000, 3), (2, 1), (1, 7), (16, 64)])
def test_any_shape_gets_a_mask_that_is_neither_empty_nor_full(size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    found = SaliencyForeground().estimate(Image.fromarray(pixels))
    assert found.shape == (size[1], size[0])
    assert found.any() and not found.all()


def test_a_picture_of_one_pixel_is_taken():
    assert SaliencyForeground().estimate(Image.new("RGB", (1, 1))).shape == (1, 1)


@pytest.mark.parametrize("colour", ["black", "white", (90, 140, 60)])
def test_a_picture_of_one_colour_gives_the_middle(colour):
    found = SaliencyForeground().estimate(Image.new("RGB", (40, 30), colour))
    middle = centre_mask(30, 40)
    assert found.any() and not found.all()
    assert found[15, 20] and not found[[0, -1]].any() and not found[:, [0, -1]].any()
    assert overlap(found, middle) > 0.4


def test_without_a_prior_a_picture_of_one_colour_falls_back_on_the_middle():
    found = SaliencyForeground(centre_weight=0).estimate(Image.new("RGB", (40, 30), "red"))
    assert np.array_equal(found, centre_mask(30, 40))


def test_small_holes_are_filled_and_large_ones_are_not():
    soft = np.zeros((40, 40))
    soft[5:35, 5:35] = 1
    soft[8:10, 8:10] = 0
    soft[15:25, 15:25] = 0
    soft[0:2, 38:40] = 1
    mask = SaliencyForeground()._threshold(soft)
    assert mask[8:10, 8:10].all()
    assert not mask[15:25, 15:25].any()
    assert not mask[0:2, 38:40].any()


def test_the_same_picture_gives_the_same_mask_in_any_thread_and_after_pickling():
    picture, _ = disc_on_stripes()
    estimator = SaliencyForeground()
    first = estimator.estimate(picture)
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(first, found) for found in pool.map(estimator, [picture] * 8))
    assert np.array_equal(first, pickle.loads(pickle.dumps(estimator)).estimate(picture))


@pytest.mark.parametrize(
    ("option", "value"),
    [("working_size", 8), ("border", 0.7), ("centre_weight", -0.1), ("smoothing", 2), ("rounds", -1)],
)
def test_an_option_out_of_range_is_refused_by_name(option, value):
    with pytest.raises(ValueError, match=f"^saliency: {option}.*got {value}"):
        SaliencyForeground(**{option: value})
