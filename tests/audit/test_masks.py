"""Masks: given, estimated, and each way in which one can be wrong."""

import numpy as np
import pytest
from audit_pictures import Made
from PIL import Image

from backmix.audit.frame import Frame
from backmix.audit.masks import CentreMasks, EstimatedBy, Fault, GivenMasks, judge
from backmix.data.images import ImageError
from backmix.foregrounds import SaliencyForeground
from backmix.foregrounds.base import ForegroundSource, Segmentation

PICTURE = Image.new("RGB", (40, 30))


def mask(values):
    return Image.fromarray(np.array(values, dtype=np.uint8))


def square(size, top, left, side, value=255):
    pixels = np.zeros(size[::-1], dtype=np.uint8)
    pixels[top : top + side, left : left + side] = value
    return mask(pixels)


def test_given_masks_are_handed_on_or_named():
    def broken(position):
        raise ImageError("x.png", "cut off")

    good = square((40, 30), 5, 5, 10)
    for read, wanted in (
        (lambda position: good, good),
        (lambda position: None, Fault.missing),
        (lambda position: square((30, 40), 5, 5, 10), Fault.size),
        (broken, Fault.broken),
    ):
        masks = GivenMasks("true", read)
        assert masks.tell([masks.look(0, PICTURE)]) == [wanted]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (square((64, 64), 0, 0, 0), Fault.empty),
        (square((64, 64), 20, 20, 20, value=1), Fault.dark),
        (square((64, 64), 20, 20, 20, value=128), Fault.dark),
        (square((128, 64), 20, 2, 20), Fault.outside),
        (square((64, 64), 0, 0, 64), Fault.full),
        (square((64, 64), 0, 0, 63), Fault.full),
    ],
)
def test_a_mask_that_means_nothing_is_named(given, wanted):
    assert judge(given, Frame(64)) is wanted


def test_a_mask_that_means_something_is_kept():
    judged = judge(square((64, 64), 16, 16, 32), Frame(32))
    assert not isinstance(judged, Fault) and judged.sum() == 256 and judged[8:24, 8:24].all()
    assert not isinstance(judge(square((64, 64), 0, 0, 60), Frame(32)), Fault)  # 88 %


def test_the_centre_is_a_quarter_of_the_picture():
    masks = CentreMasks()
    (found,) = masks.tell([masks.look(0, PICTURE)])
    assert found.size == PICTURE.size and np.asarray(found).mean() == pytest.approx(255 / 4, rel=0.01)
    assert masks.estimated


def test_estimates_are_those_of_the_source():
    source, made = SaliencyForeground(), Made(1)
    masks = EstimatedBy(source)
    looks = [masks.look(i, made.read(i)) for i in range(3)]
    for i, found in enumerate(masks.tell(looks)):
        assert np.array_equal(np.asarray(found) > 0, source.estimate(made.read(i)))
    assert masks.estimated and masks.name == "saliency"


class Guess(ForegroundSource):
    """Covers a given share from the top."""

    def __init__(self, share):
        super().__init__(working_size=50)
        self.share = share

    def segment(self, pixels):
        height, width = pixels.shape[:2]
        found = np.zeros((height, width), dtype=bool)
        found[: round(self.share * height)] = True
        return Segmentation(found.astype(np.float32), found)


@pytest.mark.parametrize(("share", "lost"), [(0.0, True), (0.5, False), (1.0, True), (0.96, True)])
def test_an_estimate_that_found_nothing_is_not_taken_for_the_middle(share, lost):
    masks = EstimatedBy(Guess(share))
    look = masks.look(0, Image.new("RGB", (200, 100)))
    assert look.size == (50, 25)
    assert (masks.tell([look]) == [Fault.lost]) is lost
