import io

import numpy as np
import pytest
import torch
from deep_files import png
from PIL import Image

from backmix.classifier import OpenSetClassifier
from backmix.data.common_range import common_ranges, ranges_in_words, use_ranges
from backmix.data.content import content_key
from backmix.data.folder import FolderSource
from backmix.data.source import Subset
from backmix.export.module import describe
from backmix.fit.data import notes, open_data
from backmix.onnx_model.contract import Description
from backmix.threshold.conformal import ConformalThreshold

DARK, BRIGHT = 100, 3900


def deep(value):
    return png(np.full((40, 40, 1), value, np.uint16))


@pytest.fixture
def photographs(tmp_path):
    """12 bits in 16 that no file declares: most photographs are dark."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(6):
            (tmp_path / name / f"{i}.png").write_bytes(deep(BRIGHT if i == 5 else DARK))
    Image.new("RGB", (40, 40), (7, 7, 7)).save(tmp_path / "cat" / "8.jpg")
    return tmp_path


def level(picture):
    return int(np.asarray(picture)[0, 0, 0])


def test_all_photographs_decide_and_all_are_read_alike(photographs):
    source = FolderSource(photographs)
    assert level(source.read(0)) == 100  # Alone, a dark photograph looks like one of 8 bits.
    ranges = common_ranges(source)
    assert ranges == {"uint16": (0.0, 4095.0)}
    part = Subset(Subset(source, torch.arange(1, 9)), [4, 0])
    assert common_ranges(part) == {"uint16": (0.0, 4095.0)}
    assert common_ranges(Subset(source, [0, 1])) == {"uint16": (0.0, 255.0)}
    before = content_key(source, 0)
    use_ranges(part, ranges)
    assert [level(source.read(i)) for i in (0, 5)] == [round(DARK / 4095 * 255), round(BRIGHT / 4095 * 255)]
    assert content_key(source, 0) != before  # Kept features belong to the pixels.
    assert "0 is black and 4095 is white (12 bits)" in ranges_in_words(ranges)[0]


def test_photographs_of_8_bits_and_declared_depths_need_no_range(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40), (7, 7, 7)).save(tmp_path / name / "1.jpg")
        (tmp_path / name / "2.png").write_bytes(png(np.full((40, 40, 1), 100, np.uint16), significant=12))
        (tmp_path / name / "3.png").write_bytes(b"broken")
    assert common_ranges(FolderSource(tmp_path)) == {} and ranges_in_words({}) == []


def test_fit_finds_the_range_and_says_so_once(photographs):
    data = open_data(str(photographs), image_size=32, near_duplicates=False)
    assert data.ranges == {"uint16": (0.0, 4095.0)} == data.source.ranges
    assert sum("4095 is white" in note for note in notes(data)) == 1


def test_a_run_keeps_the_range_and_answers_with_it(photographs, tmp_path):
    ranges = {"uint16": (0.0, 4095.0), "float": (-1.5, 2.0)}
    made = OpenSetClassifier(["cat", "dog"], model="compact-s", image_size=32, value_ranges=ranges)
    made.thresholds = {made.detector: ConformalThreshold.fit(torch.arange(30.0))}
    made.save(tmp_path / "run")
    loaded = OpenSetClassifier.load(tmp_path / "run")
    assert loaded.value_ranges == ranges
    grey = Image.new("RGB", (40, 40), (6, 6, 6))
    dark = photographs / "cat" / "0.png"
    pixels = Image.open(io.BytesIO(deep(DARK)))
    expected, *found = loaded.predict([grey, dark, dark.read_bytes(), pixels])
    assert [answer.unknown_score for answer in found] == [expected.unknown_score] * 3
    source = FolderSource(photographs)
    loaded.labels_for(source)
    assert level(source.read(0)) == 6
    # The exported file takes it along; files of earlier versions have none.
    description = describe(loaded)
    assert Description.from_json(description.to_json()).value_ranges == ranges
    text = description.to_json().replace("value_ranges", "something_else")
    assert Description.from_json(text).value_ranges == {}
    for wrong in ("[1.0]", "[2.0, 1.0]", '["a", 1.0]', "[1, 2, 3]"):
        text = Description.to_json(description).replace("[\n      -1.5,\n      2.0\n    ]", wrong)
        with pytest.raises(ValueError, match="value_ranges"):
            Description.from_json(text)


def test_a_source_of_another_kind_is_told(photographs):
    made = OpenSetClassifier(["cat", "dog"], model="compact-s", image_size=32)
    with pytest.raises(TypeError, match="load_source.'some/photos'."):
        made.labels_for("some/photos")
    with pytest.raises(TypeError, match="batch_size|several"):
        made.predict(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="batch_size is at least 1"):
        made.predict([photographs / "cat" / "0.png"], batch_size=0)
