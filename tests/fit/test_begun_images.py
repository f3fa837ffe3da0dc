"""A training is not resumed on other images, and what differs is named."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from command_folders import colour, small
from PIL import Image

import backmix.cli.fit_command
from backmix.cli.fit_command import fit_command
from backmix.data.folder import FolderSource
from backmix.errors import RunError
from backmix.fit.begun_images import FILE, check_same_images, list_images

COLOURS = {"cat": (220, 30, 30), "dog": (30, 220, 30), "horse": (30, 30, 220)}


def make(root, per_class=12, splits=("",)):
    for split in splits:
        for name, value in COLOURS.items():
            for number in range(per_class):
                colour(root / split / name / f"{number:03d}.png", value)
    return root


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A training that was cut off after its last epoch, and a function that resumes it."""
    data, run = make(tmp_path / "data", splits=("train", "val", "test")), tmp_path / "run"
    arguments = small(data, known_classes=None, epochs=1, near_duplicates=False)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(backmix.cli.fit_command, "write_shares", stop)
        with pytest.raises(KeyboardInterrupt):
            fit_command(arguments, run)
    assert (run / "checkpoint.pt").is_file()

    def resume(**options):
        return fit_command(replace(arguments, **options), run, resume=True)

    return data, resume


def rename_class(data):
    for split in data.iterdir():
        (split / "cat").rename(split / "zebra")
    return r"classes cat, dog, horse -> dog, horse, zebra; .*12 images of train gone \(cat/000.png, cat/001.png"


def rename_classes_round(data):
    """The same names, and every class is another one."""
    for split in data.iterdir():
        (split / "cat").rename(split / "x")
        (split / "dog").rename(split / "cat")
        (split / "x").rename(split / "dog")
    return r"24 images of train of other content \(cat/000.png.* and 21 more"


def replace_photo(data):
    shutil.copy(data / "train" / "cat" / "001.png", data / "train" / "cat" / "000.png")
    return r"1 image of train of other content \(cat/000.png\)\. Put"


def rename_photo(data):
    (data / "train" / "dog" / "000.png").rename(data / "train" / "dog" / "zzz.png")
    return r"1 image of train gone \(dog/000.png\); 1 image of train new \(dog/zzz.png\)"


def move_to_another_class(data):
    (data / "train" / "dog" / "000.png").rename(data / "train" / "cat" / "new.png")
    return r"1 image of train gone \(dog/000.png\); 1 image of train new \(cat/new.png\)"


def change_validation(data):
    shutil.copy(data / "train" / "cat" / "001.png", data / "val" / "cat" / "000.png")
    return r"1 image of val of other content \(cat/000.png\)"


def add_photo(data):
    colour(data / "train" / "cat" / "another.png", (200, 30, 30))
    return r"1 image of train new \(cat/another.png\)"


CHANGES = [
    rename_class,
    rename_classes_round,
    replace_photo,
    rename_photo,
    move_to_another_class,
    change_validation,
    add_photo,
]


def test_a_training_is_resumed_on_the_same_images_alone(begun, tmp_path):
    data, resume = begun
    kept = shutil.copytree(data, tmp_path / "kept")
    for change in CHANGES:
        expected = change(data)
        with pytest.raises(RunError, match=f"cannot resume .* with other images than it began with: .*{expected}"):
            resume()
        shutil.rmtree(data)
        shutil.copytree(kept, data)
    # The test has no part in the training. Copies, whose times differ, are the same images.
    (data / "test" / "cat" / "000.png").unlink()
    assert len(resume().history) == 1
    assert len(json.loads((tmp_path / "run" / FILE).read_text())["train"]) == 36


def test_other_known_classes_are_refused(begun):
    _, resume = begun
    with pytest.raises(RunError, match="known_classes: None -> 'cat,dog'"):
        resume(known_classes="cat,dog")


def test_a_run_of_an_earlier_version_has_no_list(begun, tmp_path):
    data, resume = begun
    (tmp_path / "run" / FILE).unlink()
    replace_photo(data)
    assert len(resume().history) == 1


def test_a_damaged_list_is_one_sentence(tmp_path):
    for content in ("{", "[]", "{}", '{"classes": [], "train": {"a": 3}}'):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(RunError, match="cannot be read"):
            check_same_images(tmp_path, {"classes": [], "train": {"a": ["", "", ""]}})


def test_masks_are_compared_where_they_are_trained_on():
    class Masked:
        classes, labels = ["a", "b"], torch.tensor([0, 1])

        def __init__(self, *greys):
            self.greys = greys

        def __len__(self):
            return 2

        def read_mask(self, i):
            return None if self.greys[i] is None else Image.new("L", (4, 4), self.greys[i])

    one, other = ({"classes": [], "train": list_images(Masked(0, grey), masks=True)} for grey in (255, None))
    assert one["train"]["0"][0] == "a" and one["train"]["0"][2] and other["train"]["1"][2] == ""
    assert list_images(Masked(0, 255)) == list_images(Masked(0, None))


def test_an_image_that_cannot_be_read_is_listed_too(tmp_path):
    data = make(tmp_path / "data", per_class=1)
    (data / "cat" / "gone.png").symlink_to(tmp_path / "nowhere")
    found = list_images(FolderSource(data))
    assert found["cat/gone.png"] == ["cat", "unreadable", ""] and len(found["dog/000.png"][1]) == 16
