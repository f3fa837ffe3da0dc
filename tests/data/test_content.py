"""The name of an image's content: that of its file, or of its pixels."""

import hashlib
import os

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.data.content import content_key, content_keys, file_key
from backmix.data.digits import DigitsOnTextures
from backmix.data.folder import FolderSource
from backmix.data.images import ImageError
from backmix.data.load import load_source
from backmix.data.source import Subset


def test_a_file_is_named_by_its_bytes_wherever_it_lies(pictures, tmp_path):
    source = FolderSource(pictures / "train")
    key = content_key(source, 3)
    assert key == hashlib.sha256(source.path(3).read_bytes()).digest()
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    (tmp_path / "a" / "copy.png").write_bytes(source.path(3).read_bytes())
    (tmp_path / "b" / "other.png").write_bytes(source.path(4).read_bytes())
    copy = FolderSource(tmp_path)
    assert content_key(copy, 0) == key != content_key(copy, 1)
    assert content_key(Subset(source, torch.tensor([9, 3])), 1) == key


def test_pixels_are_named_where_there_is_no_file():
    digits = DigitsOnTextures("test")
    keys = {content_key(digits, i) for i in range(50)}
    assert len(keys) == 50 and {len(key) for key in keys} == {32}
    assert content_key(digits, 7) == content_key(DigitsOnTextures("test"), 7)
    assert content_key(digits, 7) != content_key(DigitsOnTextures("test", prior=0.0, seed=5), 7)


def test_a_table_is_named_by_its_encoded_images(tmp_path):
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(stream, "PNG")
    rows = [{"bytes": stream.getvalue(), "path": None}] * 2
    pq.write_table(pa.table({"image": rows, "label": [0, 1]}), tmp_path / "train.parquet")
    source = load_source(tmp_path / "train.parquet")
    assert content_key(source, 1) == hashlib.sha256(stream.getvalue()).digest()


def test_a_file_that_cannot_be_read_has_no_name(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        file_key(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="not a regular file"):
        file_key(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        file_key(tmp_path / "pipe.png")


def test_many_names_at_once_with_the_errors_of_unreadable_files(tmp_path):
    for number in range(150):
        place = tmp_path / f"class {number % 2}"
        place.mkdir(exist_ok=True)
        (place / f"{number:03d}.png").write_bytes(str(number).encode())
    source = FolderSource(tmp_path)
    source.path(70).unlink()
    found = content_keys(source, [149, *range(150)], workers=3)
    assert isinstance(found[71], ImageError) and found[71].path == source.name(70)
    expected = [content_key(source, i) if i != 70 else None for i in [149, *range(150)]]
    assert [key for key in found if isinstance(key, bytes)] == [key for key in expected if key is not None]
    assert content_keys(source, []) == []


def test_a_subclass_that_shows_other_pictures_is_named_by_its_pixels(pictures):
    class Negative(FolderSource):
        def read(self, i):
            return super().read(i).point(lambda value: 255 - value)

    plain, other = FolderSource(pictures / "train"), Negative(pictures / "train")
    picture = other.read(3)
    due = hashlib.sha256(f"{picture.mode} {picture.size} ".encode() + picture.tobytes()).digest()
    assert content_key(other, 3) == due != content_key(plain, 3)

    class Named(Negative):
        def content_key(self, i):
            return b"its own name, which it answers for"

    assert content_key(Named(pictures / "train"), 3) == b"its own name, which it answers for"
