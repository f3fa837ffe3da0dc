"""Outliers drawn from a data set."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from backmix.data.preprocess import Preprocess
from backmix.errors import DataError
from backmix.fit.data import outlier_notes
from backmix.outliers import DatasetOutliers
from backmix.outliers.dataset import load_outliers

PREPROCESS = Preprocess(8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
BATCH = torch.zeros(6, 3, 8, 8)
INDEX = torch.arange(6)


def numbered(count):
    """(count, 3, 8, 8) uint8; image i is i everywhere."""
    return torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8).contiguous()


def make(count=40, seed=0, **options):
    return DatasetOutliers(numbered(count), PREPROCESS, generator=torch.Generator().manual_seed(seed), **options)


def which(outliers):
    """Number of each image, from its first pixel back to bytes."""
    return (outliers[:, 0, 0, 0] * 0.2 + 0.4).mul(255).round().long()


def test_images_are_normalised_pixel_by_pixel():
    outliers = make()(BATCH, INDEX)
    assert outliers.shape == (6, 3, 8, 8) and outliers.dtype == torch.float32
    for image, number in zip(outliers, which(outliers).tolist()):
        for channel, (mean, std) in enumerate(zip(PREPROCESS.mean, PREPROCESS.std)):
            assert (image[channel] - (number / 255 - mean) / std).abs().max() < 1e-5


@given(share=st.floats(0.01, 4), batch=st.integers(1, 20), seed=st.integers(0, 2**16))
def test_as_many_as_the_share_says(share, batch, seed):
    outliers = make(7, seed, share=share)(torch.zeros(batch, 3, 8, 8), torch.arange(batch))
    assert len(outliers) == max(1, round(share * batch))
    assert set(which(outliers).tolist()) <= set(range(7))


def test_every_image_comes_equally_often():
    counts = torch.bincount(make(5, share=1000)(BATCH, INDEX)[:, 0, 0, 0].mul(51).add(102).round().long(), minlength=5)
    assert len(counts) == 5 and (counts / 6000 - 0.2).abs().max() < 0.03


def test_the_same_seed_draws_the_same_and_another_does_not():
    first, again, other = make(seed=3), make(seed=3), make(seed=4)
    assert torch.equal(first(BATCH, INDEX), again(BATCH, INDEX))
    assert not torch.equal(first(BATCH, INDEX), other(BATCH, INDEX))


def test_without_a_generator_the_global_one_decides():
    outliers = DatasetOutliers(numbered(40), PREPROCESS)
    torch.manual_seed(5)
    first = outliers(BATCH, INDEX)
    torch.manual_seed(5)
    assert torch.equal(outliers(BATCH, INDEX), first)


def test_images_move_along_but_are_not_saved():
    outliers = make()
    assert outliers.state_dict() == {} and list(outliers.parameters()) == []
    outliers.load_state_dict({})
    assert copy.deepcopy(outliers).to("meta").images.device.type == "meta"
    assert outliers.half().images.dtype == torch.uint8
    assert outliers.backmix is None


def test_print_tells_data_sets_and_options_apart():
    assert repr(make()) == repr(make(seed=9))
    other = numbered(40)
    other[3, 1, 2, 5] += 1
    names = {repr(make()), repr(make(share=2.0)), repr(make(39)), repr(DatasetOutliers(other, PREPROCESS))}
    assert len(names) == 4
    assert "40, share=1.0" in repr(make())


def test_the_order_in_memory_does_not_change_the_print():
    last = numbered(40).to(memory_format=torch.channels_last)
    assert repr(DatasetOutliers(last, PREPROCESS)) == repr(make())


def test_a_batch_of_another_size():
    with pytest.raises(ValueError, match=r"as large as the outliers, \(3, 8, 8\); got \(3, 16, 16\)"):
        make()(torch.zeros(2, 3, 16, 16), torch.arange(2))


@pytest.mark.parametrize("images", [torch.zeros(4, 3, 8, 8), numbered(4)[:, :1], numbered(4)[0], numbered(4)[:0]])
def test_images_that_are_none(images):
    with pytest.raises(ValueError, match=r"outliers must be \(N, 3, S, S\) uint8"):
        DatasetOutliers(images, PREPROCESS)


@pytest.mark.parametrize("share", [0, -1.0, float("nan"), float("inf")])
def test_share_outside_its_range(share):
    with pytest.raises(ValueError, match="share of outliers"):
        make(share=share)


def test_classes_that_are_spelt_otherwise_are_no_outliers(tmp_path):
    for name in ("Cat", "red_fox", "owl"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "1.png")
    found = load_outliers(str(tmp_path), ["cat", "red fox"])
    assert [found.source.classes[label] for label in found.labels] == ["owl"]
    assert outlier_notes(found) == ["2 outliers are left out: they are of classes that are known (Cat, red_fox)"]
    with pytest.raises(DataError, match="all its images are of known classes"):
        load_outliers(str(tmp_path), ["cat", "red fox", "OWL"])


def test_outliers_need_no_classes(tmp_path):
    (tmp_path / "owl").mkdir()
    for path in ("1.png", "owl/1.png", "owl/2.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / path)
    assert len(load_outliers(str(tmp_path / "owl"), ["cat", "dog"])) == 2
    assert len(load_outliers(str(tmp_path), ["cat", "dog"])) == 3
