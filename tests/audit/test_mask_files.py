"""Masks beside the images: found by name in folders, by row in Parquet."""

import io

import numpy as np
import pytest
from audit_pictures import Made, write_set
from PIL import Image

from backmix.audit.mask_files import MaskFiles
from backmix.data.load import load_source
from backmix.errors import DataError

MADE = Made(2)


def same(found, i):
    return np.array_equal(np.asarray(found), np.asarray(MADE.read_mask(i)))


@pytest.fixture
def folders(tmp_path):
    images, masks = write_set(tmp_path, MADE)
    return load_source(str(images), "test"), masks


def test_a_mask_is_found_under_the_path_of_its_image(folders):
    source, masks = folders
    found = MaskFiles(masks, source)
    assert all(same(found.read(i), i) for i in range(len(source)))


@pytest.mark.parametrize("spell", ["test/{}.png", "{}_mask.png", "{}.png.png", "test/{}_mask.bmp"])
def test_other_spellings_of_the_path(folders, spell):
    source, masks = folders
    new = masks.with_name("others")
    for file in masks.rglob("*.png"):
        target = new / spell.format(file.relative_to(masks).with_suffix("").as_posix())
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).save(target)
    found = MaskFiles(new, source)
    assert all(same(found.read(i), i) for i in range(len(source)))


def test_a_missing_mask_is_none_and_none_at_all_is_an_error(folders):
    source, masks = folders
    next(iter(sorted(masks.rglob("*.png")))).unlink()
    found = MaskFiles(masks, source)
    assert found.read(0) is None and same(found.read(1), 1)
    (masks.parent / "empty").mkdir()
    with pytest.raises(DataError, match="no mask in .* belongs to an image: .* as in cat/0.png"):
        MaskFiles(masks.parent / "empty", source)
    with pytest.raises(DataError, match="there are no masks at"):
        MaskFiles(masks.parent / "nowhere", source)


def test_a_folder_goes_with_folders_alone(folders):
    with pytest.raises(DataError, match="give masks as Parquet"):
        MaskFiles(folders[1], MADE)


def encoded(picture):
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def write_parquet(path, columns):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict(columns).to_parquet(str(path))


def test_masks_in_parquet_go_by_row(tmp_path):
    content = [None if i == 3 else encoded(MADE.read_mask(i)) for i in range(len(MADE))]
    write_parquet(tmp_path / "masks.parquet", {"mask": [c and {"bytes": c, "path": None} for c in content]})
    found = MaskFiles(tmp_path / "masks.parquet", MADE)
    assert found.read(3) is None and all(same(found.read(i), i) for i in range(len(MADE)) if i != 3)


def test_a_single_column_of_bytes_will_do_and_splits_are_looked_at(tmp_path):
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}-00000-of-00001.parquet", {"m": [encoded(MADE.read_mask(0))] * 6})
    assert same(MaskFiles(tmp_path, MADE, "test").read(5), 0)
    with pytest.raises(DataError, match="have the splits test, train"):
        MaskFiles(tmp_path, MADE, "val")


def test_parquet_that_does_not_fit_is_refused(tmp_path):
    write_parquet(tmp_path / "short.parquet", {"mask": [encoded(MADE.read_mask(0))] * 2})
    with pytest.raises(DataError, match="has 2 masks, but there are 6 images"):
        MaskFiles(tmp_path / "short.parquet", MADE)
    write_parquet(tmp_path / "none.parquet", {"label": [1] * 6})
    with pytest.raises(DataError, match="needs a column 'mask'"):
        MaskFiles(tmp_path / "none.parquet", MADE)
    (tmp_path / "no.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        MaskFiles(tmp_path / "no.parquet", MADE)
