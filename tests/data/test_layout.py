"""Folder trees as annotation tools, archives, file servers and this package's own commands leave them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from backmix.data.layout import are_masks, by_split, folder_splits, mask_files
from backmix.data.load import available_splits, load_source
from backmix.data.source import count_per_class
from backmix.errors import DataError


def fill(root, *paths):
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        photo(number).save(root / path)
    return root


def photo(number):
    noise = np.random.default_rng(number).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def both(*folders, classes=("cat", "dog")):
    return [f"{folder}/{name}/1.png" for folder in folders for name in classes]


@pytest.mark.parametrize(
    ("train", "test", "split"),
    [
        ("training_set", "test_set", "test"),
        ("seg_train", "seg_test", "test"),
        ("Training Data", "Testing Data", "test"),
        ("trainset", "testset", "test"),
        ("train_images", "valid_images", "val"),
        ("training_set/training_set", "test_set/test_set", "test"),
        ("seg_train/seg_train", "seg_test/seg_test", "test"),
        ("train/images", "dev/images", "val"),
        ("intel-train", "intel-validation", "val"),
    ],
)
def test_splits_of_other_names_are_recognised(tmp_path, train, test, split):
    fill(tmp_path, *both(train, test))
    assert available_splits(tmp_path) == ["train", split]
    for name, folder in (("train", train), (split, test)):
        source = load_source(tmp_path, name)
        assert count_per_class(source) == {"cat": 1, "dog": 1} and source.name(0) == str(
            tmp_path / folder / "cat/1.png"
        )


def test_a_roboflow_export_and_images_to_be_predicted(tmp_path):
    fill(tmp_path, *both("train", "valid", "test"), *both("seg_pred", classes=["seg_pred"]))
    assert available_splits(tmp_path) == ["train", "val", "test", "seg_pred"]


@pytest.mark.parametrize(
    ("paths", "classes"),
    [
        (["steam train/1.png", "bullet train/1.png", "test tube/1.png"], ["bullet train", "steam train", "test tube"]),
        (["train/1.png", "bus/1.png", "car/1.png"], ["bus", "car", "train"]),
        (["valid/1.png", "invalid/1.png"], ["invalid", "valid"]),
        (both("high_train", "low_test", classes=("red", "blue")), ["high_train", "low_test"]),
    ],
)
def test_classes_whose_names_hold_such_a_word_stay_classes(tmp_path, paths, classes):
    fill(tmp_path, *paths)
    assert available_splits(tmp_path) == [] and load_source(tmp_path).classes == classes


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (both("train", "bus", "car"), r"'train' beside 'bus', 'car', .*a split or a class\. If .*, give .*/train; if"),
        (both("valid", "invalid"), "'valid' beside 'invalid'"),
        (both("PetImages"), r"one class only \('PetImages'\).*/PetImages has 2 folders inside \(cat, dog\): is it the"),
        (both("a/b/c"), r"one class only \('a'\).*/a/b/c has 2 folders inside"),
        (both("a/b/train", "a/b/test"), r"/a/b has 2 folders inside \(test, train\)"),
        ([*both("Data/CLS/train"), "Notes/.hidden/1.png"], r"/Data/CLS/train has 2 folders inside \(cat, dog\)"),
        (both("one/train", "one/test", "two/train", "two/test"), "holds several data sets.*give one of them: .*/one, "),
        (["cat/train/1.png", "cat/test/1.png", "dog/train/1.png", "dog/test/1.png"], r"as in test/cat/1\.jpg"),
        (both("train", "training_set"), "both stand for the split 'train'"),
        (["test_set/1.png", "training_set/1.png"], "no class folders in them; put the images of each class"),
    ],
)
def test_trees_that_are_not_clear_are_refused_with_the_folder_to_give(tmp_path, paths, message):
    with pytest.raises(DataError, match=message):
        load_source(fill(tmp_path, *paths))


@pytest.mark.parametrize(
    ("paths", "left_out"),
    [
        (["answers/cat/7.png", "answers/dog/7.png", "answers/unknown/7.png"], ["answers"]),
        (["masks/cat/1.png", "masks/dog/1.png"], ["masks"]),
        (["backup/Cat/1.png"], ["backup"]),
        (["no_label/7.png"], ["no_label"]),
        (["thumbnails/1.png"], ["thumbnails"]),
        (["#recycle/cat/7.png"], ["#recycle"]),
        (["@eaDir/cat/7.png", "cat/@eaDir/1.png/SYNOPHOTO_THUMB_M.png"], ["cat/@eaDir", "@eaDir"]),
        (["$RECYCLE.BIN/7.png", "lost+found/7.png"], ["$RECYCLE.BIN", "lost+found"]),
        ([".Trash-1000/7.png", ".thumbnails/7.png", "__MACOSX/cat/1.png", "cat/.thumbs/1.png"], []),
        (["cat/thumbnails/1.png"], ["cat/thumbnails"]),
        (["cat/1_mask.png", "dog/1_mask_1.png"], ["cat/1_mask.png", "dog/1_mask_1.png"]),
    ],
)
def test_what_is_no_class_is_left_out_with_a_note(tmp_path, paths, left_out):
    fill(tmp_path, "cat/1.png", "dog/1.png", *paths)
    source = load_source(tmp_path)
    assert source.classes == ["cat", "dog"] and len(source) == 2
    assert list(source.left_out) == left_out
    said = " ".join(source.notes())
    assert all(repr(name) in said for name in left_out) and said.count("left out") == len({*source.left_out.values()})


def test_masks_are_told_from_a_class_of_that_name_by_their_pixels(tmp_path):
    fill(tmp_path, "cat/1.png", "gloves/1.png", "masks/1.png", "cat/labels/2.png")
    assert load_source(tmp_path).classes == ["cat", "gloves", "masks"] and len(load_source(tmp_path)) == 4
    flat = Image.new("L", (40, 30))
    flat.paste(255, (5, 5, 20, 20))
    flat.save(tmp_path / "masks" / "1.png")
    flat.convert("RGB").save(tmp_path / "cat" / "labels" / "2.png")
    source = load_source(tmp_path)
    assert source.classes == ["cat", "gloves"] and source.left_out == {"masks": "masks", "cat/labels": "masks"}


def test_soft_masks_and_coloured_ones_are_masks_and_photographs_are_not(tmp_path):
    y, x = np.mgrid[:64, :64]
    distance = np.hypot(x - 32, y - 32)
    soft = (255 / (1 + np.exp((distance - 15) * 4))).astype(np.uint8)
    labels = np.stack([(x // 16) * 60, (y // 16) * 60, 0 * x], 2).astype(np.uint8)
    for name, picture, expected in (("soft", soft, True), ("labels", labels, True), ("photo", None, False)):
        (tmp_path / name).mkdir()
        (photo(1) if picture is None else Image.fromarray(picture)).save(tmp_path / name / "1.png")
        assert are_masks(tmp_path / name) is expected, name
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "1.png").write_bytes(b"x")
    assert not are_masks(tmp_path / "empty")


@given(st.lists(st.sampled_from(["a", "a_mask", "a_mask_1", "b_seg", "b", "c_mask", "mask"]), unique=True))
def test_a_mask_is_left_out_only_beside_its_image(stems):
    expected = {"a_mask": "a", "a_mask_1": "a", "b_seg": "b", "c_mask": "c"}
    found = mask_files([f"cat/{stem}.png" for stem in stems])
    assert found == {f"cat/{mask}.png" for mask, image in expected.items() if mask in stems and image in stems}


def test_names_and_inner_folders_that_suggest_another_reading_are_said(tmp_path):
    fill(tmp_path / "pairs", "cat_train/1.png", "cat_test/1.png", "dog/1.png")
    assert load_source(tmp_path / "pairs").notes() == [
        "'cat_test', 'cat_train' look like the splits of one class; each is taken for a class"
    ]
    fill(tmp_path / "coarse", "mammals/cat/1.png", "mammals/dog/1.png", "birds/owl/1.png")
    source = load_source(tmp_path / "coarse")
    assert count_per_class(source) == {"birds": 1, "mammals": 2}
    assert source.notes() == [
        "the classes are birds, mammals; the folders inside them (cat, dog, owl) are taken for parts of these classes, "
        "not for classes of their own"
    ]


def test_names_of_the_hub_stand_for_splits_only_as_a_whole():
    assert by_split([("validation", None), ("train", None), ("train_extra", None)]) == {
        "train": "train",
        "val": "validation",
        "train_extra": "train_extra",
    }
    with pytest.raises(DataError, match="both stand for the split 'val'"):
        by_split([("dev", None), ("valid", None)])


def test_one_list_of_names_decides_and_not_the_disk_alone(tmp_path):
    fill(tmp_path, *both("train", "test"))
    assert folder_splits(tmp_path, ["test", "train"]) == {"train": "train", "test": "test"}
    assert folder_splits(tmp_path, ["train"]) == {"train": "train"}
