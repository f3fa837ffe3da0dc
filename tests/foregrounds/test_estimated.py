import pickle
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.data.digits import DigitsOnTextures
from backmix.data.images import ImageError
from backmix.data.loader import decode
from backmix.data.photo import FULL, SCALED, Photo
from backmix.data.preprocess import Preprocess
from backmix.data.source import ImageSource, Subset
from backmix.foregrounds.base import ForegroundSource, Segmentation
from backmix.foregrounds.estimated import EstimatedMasks


class Bright(ForegroundSource):
    """Pixels brighter than the mean; counts what it is asked."""

    name = "bright"

    def __init__(self, **options):
        super().__init__(**options)
        self.calls, self.shapes, self.lock = 0, Counter(), threading.Lock()

    def segment(self, pixels):
        with self.lock:
            self.calls += 1
            self.shapes[pixels.shape[:2]] += 1
        grey = pixels.mean(2)
        return Segmentation((grey / 255).astype(np.float32), grey > grey.mean())

    def __getstate__(self):
        return {**self.__dict__, "lock": None}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.lock = threading.Lock()


class Photographs:
    """Pictures of several sizes; number 3 is broken."""

    classes = ("a", "b")
    labels = torch.arange(40) % 2

    def __len__(self):
        return 40

    def read(self, i):
        if i == 3:
            raise ImageError("3.jpg", "broken or cut off")
        random = np.random.default_rng(i)
        return Image.fromarray(random.integers(0, 256, (30 + 7 * i, 211, 3), dtype=np.uint8))

    def read_mask(self, i):
        raise AssertionError("true masks are not to be looked at")

    def name(self, i):
        return f"{i}.jpg"


def test_it_is_an_image_source_and_passes_the_rest_through():
    source = Photographs()
    estimated = EstimatedMasks(source, Bright())
    assert isinstance(estimated, ImageSource)
    assert len(estimated) == 40 and estimated.classes == source.classes and estimated.name(5) == "5.jpg"
    assert torch.equal(estimated.labels, source.labels)
    assert estimated.read(5).tobytes() == source.read(5).tobytes()


def test_a_mask_is_the_estimate_of_the_picture_at_its_size():
    source, estimator = Photographs(), Bright(working_size=64)
    estimated = EstimatedMasks(source, estimator)
    for i in (0, 1, 30):
        mask = estimated.read_mask(i)
        assert mask.mode == "L" and mask.size == source.read(i).size
        assert set(np.unique(mask)) == {0, 255}
        assert np.array_equal(np.array(mask) == 255, estimator.estimate(source.read(i)))


def test_each_image_is_estimated_once_whoever_asks():
    estimator = Bright()
    estimated = EstimatedMasks(Photographs(), estimator)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(estimated.read_mask, [5] * 16 + [6] * 16))
    assert estimator.calls == 2
    assert len({mask.tobytes() for mask in found}) == 2


def test_prepare_estimates_all_and_tells_how_far_it_is():
    estimator, seen = Bright(), []
    estimated = EstimatedMasks(Photographs(), estimator, workers=2)
    estimated.prepare(on_images=seen.append)
    assert seen == sorted(seen) and seen[-1] == 40
    assert estimator.calls == 39
    estimated.read_mask(0)
    estimated.prepare()
    assert estimator.calls == 39
    with pytest.raises(ImageError, match=r"3\.jpg: broken"):
        estimated.read_mask(3)


def test_prepare_takes_positions_and_each_once():
    estimator = Bright()
    estimated = EstimatedMasks(Photographs(), estimator)
    estimated.prepare([1, 2, 2, 1, 3])
    assert estimator.calls == 2
    estimated.prepare([])
    with pytest.raises(IndexError, match="no image 40"):
        estimated.prepare([0, 40])
    assert estimator.calls == 2


def test_prepared_and_read_masks_are_the_same():
    prepared, lazy = EstimatedMasks(Photographs(), Bright()), EstimatedMasks(Photographs(), Bright())
    prepared.prepare()
    assert all(prepared.read_mask(i).tobytes() == lazy.read_mask(i).tobytes() for i in (0, 7, 39))


def test_pictures_are_estimated_at_the_size_asked_for():
    estimator = Bright(working_size=128)
    EstimatedMasks(Photographs(), estimator, size=32).prepare([0, 30])
    assert set(estimator.shapes) == {(round(30 * 32 / 211), 32), (32, round(211 * 32 / 240))}


def test_what_is_kept_is_small():
    estimated = EstimatedMasks(Photographs(), Bright(), size=128)
    estimated.prepare()
    assert max(packed.bits.nbytes for packed in estimated._kept.values()) <= 128 * 128 // 8


def test_it_travels_to_another_process_with_what_it_knows():
    estimated = EstimatedMasks(Photographs(), Bright())
    estimated.prepare()
    again = pickle.loads(pickle.dumps(estimated))
    assert again.read_mask(9).tobytes() == estimated.read_mask(9).tobytes()
    assert again.estimator.calls == 39


def test_decode_reads_estimates_as_masks():
    source, preprocess = DigitsOnTextures("val"), Preprocess(32)
    estimated = EstimatedMasks(source, Bright())
    decoded = decode(estimated, source.labels, preprocess, positions=range(20, 30), masks=True, workers=4)
    for row, position in enumerate(range(20, 30)):
        grey = np.array(source.read(position)).mean(2)
        assert np.array_equal(decoded.masks[row].numpy(), grey > grey.mean())
    assert torch.equal(decoded.images, decode(source, source.labels, preprocess, positions=range(20, 30)).images)


def test_a_subset_reads_the_estimates_of_its_images():
    estimated = EstimatedMasks(Photographs(), Bright())
    assert Subset(estimated, [7, 5]).read_mask(1).tobytes() == estimated.read_mask(5).tobytes()


def test_an_estimate_that_is_nothing_or_everything_becomes_the_middle():
    class Nothing(Bright):
        def segment(self, pixels):
            return Segmentation(np.zeros(pixels.shape[:2], np.float32), np.full(pixels.shape[:2], self.answer))

    for answer in (False, True):
        estimator = Nothing()
        estimator.answer = answer
        mask = np.array(EstimatedMasks(Photographs(), estimator).read_mask(0)) == 255
        assert mask[15, 105] and not mask[0].any() and mask.mean() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("position", [-1, 40])
def test_positions_out_of_range_are_refused(position):
    with pytest.raises(IndexError):
        EstimatedMasks(Photographs(), Bright()).read_mask(position)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="size .*got 8"):
        EstimatedMasks(Photographs(), Bright(), size=8)
    with pytest.raises(ValueError, match="workers .*got 0"):
        EstimatedMasks(Photographs(), Bright(), workers=0)


@pytest.mark.parametrize("decoding", [FULL, SCALED])
def test_masks_follow_the_decoding_of_the_training(decoding):
    asked = []

    class Large(Photographs):
        def read_photo(self, i, at_least):
            asked.append(at_least)
            return Photo.of(self.read(i))

    EstimatedMasks(Large(), Bright(working_size=64), decoding=decoding).read_mask(5)
    assert asked == [{FULL: None, SCALED: 128}[decoding]]
