"""What a training is made of, from folders as people have them."""

import json

import pytest
from command_folders import colour, small

from backmix.cli.fit_command import fit_command
from backmix.data.folder import FolderSource
from backmix.data.source import auto_image_size
from backmix.errors import DataError
from backmix.fit.data import load_training_data


def test_validation_images_calibrate_and_are_counted_rightly(tmp_path, capsys):
    data = tmp_path / "data"
    for split, count in (("train", 6), ("val", 4), ("test", 2)):
        for name, value in (("red", (200, 0, 0)), ("blue", (0, 0, 200)), ("green", (0, 200, 0))):
            for number in range(count):
                colour(data / split / name / f"{number}.png", value)
    train, held_out = load_training_data(str(data))
    assert len(train) == 18 and len(held_out) == 12
    fit_command(small(data, known_classes="red,blue"), tmp_path / "run")
    assert "12 images of 2 known classes to train on, 8 held out for calibration" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["images"] == {"train": 12, "held_out": 8, "test": 4}


@pytest.mark.parametrize(("side", "expected"), [(20, 32), (40, 32), (60, 64), (100, 96), (128, 128), (300, 224)])
def test_the_size_follows_the_images(tmp_path, side, expected):
    for name in "ab":
        colour(tmp_path / name / "1.png", (9, 9, 9), (side + 30, side))
    assert auto_image_size(FolderSource(tmp_path)) == expected


def test_the_size_is_found_among_damaged_images(tmp_path):
    for number in range(40):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        colour(path, (9, 9, 9), (96, 100))
        if number % 2 == 0 or number < 30:
            path.write_bytes(b"")
    assert auto_image_size(FolderSource(tmp_path)) == 96
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 40 images can be read\. The first: .*0\.png: empty"):
        auto_image_size(FolderSource(tmp_path))
