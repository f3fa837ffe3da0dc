"""What a source of outliers is, and building one by name or from a data set."""

import pytest
import torch
from PIL import Image

import backmix.outliers
from backmix.augmentations import Chain
from backmix.data.images import ImageError
from backmix.data.preprocess import Preprocess
from backmix.data.source import check_position
from backmix.errors import DataError
from backmix.mixing import BackMix
from backmix.outliers import Backgrounds, DatasetOutliers, Outliers, make_outliers

PREPROCESS = Preprocess(8, mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))


class Greys:
    """Image i is grey i everywhere; some cannot be read."""

    def __init__(self, count=30, broken=()):
        self.classes = ["a"]
        self.labels = torch.zeros(count, dtype=torch.int64)
        self.broken = broken

    def __len__(self):
        return len(self.labels)

    def read(self, i):
        if check_position(i, len(self)) in self.broken:
            raise ImageError(self.name(i), "is broken")
        return Image.new("RGB", (12, 10), (i, i, i))

    def read_mask(self, i):
        return None

    def name(self, i):
        return f"grey {i}"


def test_a_source_writes_forward_and_has_no_bank():
    source = Outliers()
    assert source.backmix is None and source.generator is None and source.state_dict() == {}
    with pytest.raises(NotImplementedError):
        source(torch.zeros(2, 3, 8, 8), torch.arange(2))


def test_an_augmentation_whose_bank_would_starve_is_refused():
    for given in (Backgrounds(BackMix(12)), Backgrounds(BackMix(12, foreground="centre"))):
        for foreground in ("free", "clean"):
            with pytest.raises(ValueError, match=r"have a BackMix each.* never be fed; .* as in Backgrounds\(mix\)"):
                given.check_bank(BackMix(12, foreground=foreground))


def test_banks_that_are_fed_or_not_needed_are_fine():
    mix = BackMix(12)
    Backgrounds(mix).check_bank(mix)
    Backgrounds(mix).check_bank(None)
    Outliers().check_bank(mix)
    for foreground in ("masks", "centre", "random", "none"):
        Backgrounds(mix).check_bank(BackMix(12, foreground=foreground))


def test_backgrounds_share_the_backmix_of_the_augmentation():
    mix = BackMix(12, foreground_share=0.5)
    source = make_outliers("backgrounds", 12, PREPROCESS, Chain([mix]))
    assert isinstance(source, Backgrounds) and source.backmix is mix


@pytest.mark.parametrize("chain", [None, Chain([])])
def test_backgrounds_have_a_backmix_of_their_own_without_one(chain):
    source = make_outliers("backgrounds", 12, PREPROCESS, chain)
    assert isinstance(source, Backgrounds)
    assert len(source.backmix.bank) == 12 and source.backmix.foreground == "free"
    assert source.backmix.fill_value == pytest.approx(0.5)  # (0.5 - 0.4) / 0.2


def test_a_data_set_is_decoded_whatever_its_labels():
    source = make_outliers(Greys(), 12, PREPROCESS, Chain([BackMix(12)]), share=2.0)
    assert isinstance(source, DatasetOutliers) and source.backmix is None and source.share == 2.0
    assert source.images.shape == (30, 3, 8, 8)
    assert source.images[:, 0, 0, 0].tolist() == list(range(30))
    assert source(torch.zeros(5, 3, 8, 8), torch.arange(5)).shape == (10, 3, 8, 8)


def test_unreadable_images_are_left_out_and_listed():
    source = make_outliers(Greys(broken={2, 7}), 12, PREPROCESS, None)
    assert source.images[:, 0, 0, 0].tolist() == [i for i in range(30) if i not in (2, 7)]
    assert source.skipped == [("grey 2", "is broken"), ("grey 7", "is broken")]


def test_a_limit_takes_some_of_all_always_the_same():
    some, again = (make_outliers(Greys(200), 12, PREPROCESS, None, limit=40) for _ in range(2))
    assert len(some.images) == 40 and torch.equal(some.images, again.images)
    numbers = some.images[:, 0, 0, 0]
    assert len(numbers.unique()) == 40 and numbers.min() < 40 and numbers.max() > 160


def test_large_images_are_fewer(monkeypatch):
    monkeypatch.setattr(backmix.outliers, "MOST_BYTES", 10 * 3 * 8 * 8)
    assert len(make_outliers(Greys(), 12, PREPROCESS, None).images) == 10
    monkeypatch.setattr(backmix.outliers, "MOST_BYTES", 1)
    assert len(make_outliers(Greys(), 12, PREPROCESS, None).images) == 1


def test_no_image_that_can_be_read():
    with pytest.raises(DataError, match=r"no image of the outliers .*3 were tried.*grey 0: is broken"):
        make_outliers(Greys(3, broken={0, 1, 2}), 12, PREPROCESS, None)
    with pytest.raises(DataError, match="0 were tried"):
        make_outliers(Greys(0), 12, PREPROCESS, None)


def test_a_name_that_is_not_there():
    with pytest.raises(ValueError, match="'backgrounds' or a data set .*; got 'background'"):
        make_outliers("background", 12, PREPROCESS, None)


def test_a_limit_of_nothing():
    with pytest.raises(ValueError, match="limit of outliers is at least 1; got 0"):
        make_outliers(Greys(), 12, PREPROCESS, None, limit=0)
