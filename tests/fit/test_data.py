"""What is held out of a folder: enough to calibrate on, look-alikes on one side, its own splits where it has them."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.classifier import OpenSetClassifier
from backmix.data.split import split_apart
from backmix.fit.data import held_out_shares, is_uneven, open_data, test_figures
from backmix.runs.held_out import Share, open_share

test_figures.__test__ = False  # Not a test.


def photograph(path, seed):
    """Something with structure, so that a copy of it can be told from another."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC).save(path, quality=90)


@pytest.fixture
def photos(tmp_path):
    for label, name in enumerate(("cat", "dog", "owl")):
        for number in range(12):
            photograph(tmp_path / "photos" / name / f"{number}.jpg", 100 * label + number)
    return tmp_path / "photos"


def test_copies_stay_on_one_side(photos):
    for number in range(6):
        with Image.open(photos / "cat" / f"{number}.jpg") as image:
            image.resize((70, 70)).save(photos / "cat" / f"copy of {number}.jpg", quality=60)
    data = open_data(str(photos), known_classes="cat,dog")
    assert data.classes == ["cat", "dog"] and data.image_size == 96 and data.alike == 12
    known = torch.tensor([data.classes.index(c) if c in data.classes else -1 for c in data.source.classes])[
        data.source.labels
    ]
    split = split_apart(known, data.classes, True, data.holdout, data.test_share, data.groups, 0)
    shares = held_out_shares(str(photos), data, split, known)
    for share in (shares.calibration, shares.test):
        for image in share.images:
            copy = image.replace("cat/", "cat/copy of ")
            if (photos / copy).exists():
                assert copy in share.images
    # What the run does not know is tested on, as unknown, and nothing is in both.
    assert sum(image.startswith("owl/") for image in shares.test.images) == 12
    assert not set(shares.test.images) & set(shares.calibration.images)
    assert len(open_share(shares, shares.test)) == len(split.test) + 12
    assert open_data(str(photos), near_duplicates=False).groups is None


def test_enough_to_reject_is_held_out_of_few_images(photos):
    assert open_data(str(photos)).holdout == pytest.approx(1 / 3)  # 19 of 36, if that were not too many.
    assert open_data(str(photos), accept=0.8).holdout == pytest.approx(0.2)
    assert open_data(str(photos), holdout=0.1, test_share=0.15).holdout == 0.1


def test_the_splits_of_the_data_itself(pictures):
    data = open_data(str(pictures), known_classes="red,green")
    assert (data.train_split, data.val_split, data.test_split, data.test_share) == ("train", None, "test", 0.0)
    known = torch.where(data.source.labels < 2, data.source.labels, -1)
    split = split_apart(known, data.classes, True, data.holdout, data.test_share, data.groups, 0)
    shares = held_out_shares(str(pictures), data, split, known)
    assert shares.test.split == "test" and shares.test.images is None
    assert len(open_share(shares, shares.test)) == 24 and len(open_share(shares, shares.calibration)) == len(split.held)
    classifier = OpenSetClassifier(data.classes, model="compact-s", model_options={"width": 0.25})
    assert test_figures(classifier, shares, 1)["images"] == {"known": 12, "unknown": 12, "unreadable": 0}


def test_a_validation_split_is_what_is_calibrated_on(photos, tmp_path):
    for split in ("train", "val"):
        shutil.copytree(photos, tmp_path / "divided" / split)
    data = open_data(str(tmp_path / "divided"))
    assert data.val_split == "val" and data.test_split is None and data.test_share == 0.2
    known = data.source.labels
    split = split_apart(known, data.classes, False, data.holdout, data.test_share, data.groups, 0)
    shares = held_out_shares("divided", data, split, known)
    assert shares.calibration.split == "val" and shares.calibration.images is None
    assert shares.test.split == "train" and len(shares.test.images) == len(split.test) > 0


def test_a_class_of_two_images_does_not_take_the_test_away(photos):
    for number in range(2, 12):
        (photos / "owl" / f"{number}.jpg").unlink()
    data = open_data(str(photos))
    assert data.test_share > 0
    for name in ("cat", "dog"):
        for number in range(2, 12):
            (photos / name / f"{number}.jpg").unlink()
    data = open_data(str(photos))
    assert data.test_share == 0
    known = data.source.labels
    split = split_apart(known, data.classes, True, data.holdout, 0.0, data.groups, 0)
    shares = held_out_shares(str(photos), data, split, known)
    assert shares.test.images == []
    classifier = OpenSetClassifier(data.classes, model="compact-s", model_options={"width": 0.25})
    assert test_figures(classifier, shares, 1) is None
    # A test that has gone during the training does not take the run with it.
    assert test_figures(classifier, replace(shares, test=Share(None, ["gone/1.jpg"])), 1) is None


def test_uneven_classes():
    assert is_uneven(torch.tensor([0] * 9 + [1] * 4)) and not is_uneven(torch.tensor([0] * 8 + [1] * 4 + [-1] * 99))
    assert not is_uneven(torch.tensor([-1]))


def test_pictures_that_are_none_of_each_other(photos):
    assert open_data(str(photos)).alike == 0
