"""What is wrong with the splits of the data is said before the training."""

import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.data.load import load_source
from backmix.data.split import Split, divide
from backmix.fit.data import open_data
from backmix.fit.data_checks import open_test, untested_classes


def photograph(path, seed):
    """Something with structure, so that a copy of it can be told from another."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize((48, 48), Image.Resampling.BICUBIC).save(path, quality=90)


def fill(root, count=8, classes=("cat", "dog"), first=0):
    for label, name in enumerate(classes):
        for number in range(first, first + count):
            photograph(root / name / f"{number}.jpg", 1000 * label + number)
    return root


def unusable(root, kind):
    """A test folder that cannot be used."""
    root.mkdir()
    if kind == "flat":
        photograph(root / "1.jpg", 99)
    elif kind == "strangers":
        fill(root, classes=("bird", "fish"), first=50)
    elif kind == "broken":
        for name in ("cat", "dog"):
            (root / name).mkdir()
            (root / name / "1.jpg").write_bytes(b"x")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("flat", "no class folders, but 1 images directly in it"),
        ("empty", "is empty"),
        ("strangers", "none of the classes of train: bird, fish instead of cat, dog"),
        ("broken", "no image of a known class in it can be read; the first: .*not an image"),
    ],
)
def test_a_test_that_cannot_be_used_is_said_and_replaced(tmp_path, kind, reason):
    fill(tmp_path / "train", 9)
    unusable(tmp_path / "test", kind)
    data = open_data(str(tmp_path))
    (said,) = data.warnings
    assert re.search(f"^the split test cannot be used, so a share of train is kept instead: .*{reason}", said)
    assert data.test_split is None and data.test_share > 0


def test_a_test_whose_classes_are_spelt_otherwise_is_used(tmp_path):
    fill(tmp_path / "train", 4)
    fill(tmp_path / "test", 2, classes=("Cat", "dog"), first=50)
    data = open_data(str(tmp_path))
    assert data.warnings == [] and data.test_split == "test"
    source, reason = open_test(str(tmp_path), data.classes)
    assert reason is None and source.labels.tolist() == [0, 0, 1, 1] and "'Cat' as 'cat'" in source.notes()[0]


def test_splits_that_share_files_are_told_by_content_and_by_the_names_of_a_tool(tmp_path):
    fill(tmp_path / "train", 6)
    photograph(tmp_path / "train" / "cat" / "p_jpg.rf.11111111.jpg", 500)
    fill(tmp_path / "val", 3, first=20)
    fill(tmp_path / "test", 3, first=30)
    assert open_data(str(tmp_path)).warnings == []
    for number in range(2):
        shutil.copy(tmp_path / "train" / "dog" / f"{number}.jpg", tmp_path / "val" / "dog" / f"copy{number}.jpg")
    shutil.copy(tmp_path / "val" / "cat" / "20.jpg", tmp_path / "test" / "cat" / "x.jpg")
    photograph(tmp_path / "test" / "cat" / "p_jpg.rf.22222222.jpg", 501)
    copied, made, across = open_data(str(tmp_path)).warnings
    assert copied.startswith("2 of 8 images of val are copies of images of the training images (")
    assert "val/dog/copy0.jpg of " in copied and "train/dog/0.jpg): what val says does not hold for new" in copied
    assert made.startswith("1 of 8 images of test were made by an annotation tool from photos that the training images")
    assert across.startswith("1 of 8 images of test are copies of images of the split val (")


def test_a_class_that_is_one_burst_or_too_small_is_named(tmp_path):
    labels = torch.tensor([0] * 20 + [1] * 20 + [2] * 6 + [3] * 2)
    groups = torch.arange(48)
    groups[40:46] = 40
    names = ["cat", "dog", "owl", "elk"]
    split = divide(labels, names, True, 0.2, 0.2, groups, 0)
    calibrate, test, few = untested_classes(labels, names, split, groups)
    assert calibrate.startswith("no image is left to calibrate on, because all are alike, in owl (6): the threshold")
    assert test.startswith("no image is left to test on, because all are alike, in owl (6)")
    assert few == ("too few images to test on in elk (2): the test says nothing of it; --min-images leaves such out")
    nothing = torch.empty(0, dtype=torch.int64)
    assert untested_classes(labels, names, Split(torch.arange(48), nothing, nothing), groups) == []


def test_copies_by_an_annotation_tool_stay_together(tmp_path):
    """Flips and turns of one photo are no near-duplicates by their look."""
    for number in range(8):
        for name in ("cat", "dog"):
            path = tmp_path / name / f"{number}.jpg"
            photograph(path, number + 100 * (name == "dog"))
            with Image.open(path) as image:
                for turn, copy in enumerate((image.copy(), image.rotate(90), image.rotate(180))):
                    copy.save(tmp_path / name / f"{number}_jpg.rf.{turn:08x}.jpg")
            path.unlink()
    data = open_data(str(tmp_path), holdout=0.25, test_share=0.25)
    assert data.warnings == ["48 images are copies by an annotation tool; those of one photo stay together"]
    split = divide(data.source.labels, data.classes, True, data.holdout, data.test_share, data.groups, 0)
    sides = [{data.source.name(i).partition("_jpg")[0] for i in part.tolist()} for part in (split.train, split.held)]
    sides.append({data.source.name(i).partition("_jpg")[0] for i in split.test.tolist()})
    assert sum(map(len, sides)) == 16 == len(set.union(*sides)) and all(sides)


def test_small_classes_can_be_left_out_and_count_as_unknown(tmp_path):
    fill(tmp_path, 6)
    for number in range(20):
        photograph(tmp_path / f"rare {number}" / "1.jpg", 5000 + number)
    data = open_data(str(tmp_path), min_images=3)
    assert data.classes == ["cat", "dog"] and data.test_share > 0
    assert data.warnings == [
        "20 classes of fewer than 3 images are left out and count as unknown: rare 0 (1), rare 1 (1), rare 2 (1) and "
        "17 more"
    ]
    assert len(load_source(tmp_path).classes) == 22
    with pytest.raises(ValueError, match=r"0 classes have 7 images or more; .*cat \(6\).*give a smaller --min-images"):
        open_data(str(tmp_path), min_images=7)
