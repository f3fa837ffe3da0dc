import pickle

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage")
pytest.importorskip("cv2")

from foregrounds_pictures import disc_on_stripes, overlap, square_on_gradient

from backmix.foregrounds.grabcut import GrabCutForeground


@pytest.mark.parametrize(
    ("start", "make"),
    # A smooth slope has no two colours to model, so the box alone leaves half of it on either side.
    [("saliency", square_on_gradient), ("saliency", disc_on_stripes), ("box", disc_on_stripes)],
)
def test_the_object_is_found(start, make):
    picture, mask = make()
    estimator = GrabCutForeground(start=start)
    assert overlap(estimator.estimate(picture), mask) > 0.8
    soft = estimator.saliency(picture)
    assert soft.shape == mask.shape and soft.dtype == np.float32
    assert soft.min() >= 0 and soft.max() <= 1
    assert mask.ravel()[soft.argmax()]


def test_the_cut_goes_on_from_the_start():
    picture, _ = square_on_gradient()
    estimator = GrabCutForeground()
    pixels = np.array(picture)
    first = estimator._saliency.segment(pixels)
    worse = first._replace(mask=np.roll(first.mask, 5, 1))
    estimator._saliency.segment = lambda _: worse._replace(soft=worse.mask.astype(np.float32))
    mask = square_on_gradient()[1]
    assert overlap(estimator.segment(pixels).mask, mask) > overlap(worse.mask, mask) + 0.1


@pytest.mark.parametrize("size", [(16, 16), (200, 6), (6, 200), (2, 1), (3, 3)])
@pytest.mark.parametrize("start", ["saliency", "box"])
def test_any_shape_gets_a_mask_that_is_neither_empty_nor_full(size, start):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    found = GrabCutForeground(start=start).estimate(Image.fromarray(pixels))
    assert found.shape == (size[1], size[0])
    assert found.any() and not found.all()


@pytest.mark.parametrize("start", ["saliency", "box"])
def test_a_picture_of_one_colour_gives_something_in_the_middle(start):
    found = GrabCutForeground(start=start).estimate(Image.new("RGB", (40, 30), "navy"))
    assert found[15, 20] and not found.all()


def test_the_same_picture_gives_the_same_mask_whatever_came_before():
    picture, _ = disc_on_stripes()
    estimator = GrabCutForeground()
    first = estimator.estimate(picture)
    estimator.estimate(square_on_gradient()[0])
    assert np.array_equal(first, estimator.estimate(picture))
    assert np.array_equal(first, pickle.loads(pickle.dumps(estimator)).estimate(picture))


@pytest.mark.parametrize(("option", "value"), [("start", "here"), ("iterations", 0), ("margin", 0.5)])
def test_an_option_out_of_range_is_refused_by_name(option, value):
    with pytest.raises(ValueError, match=f"^grabcut: {option}.*got {value!r}"):
        GrabCutForeground(**{option: value})
