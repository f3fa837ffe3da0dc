import os
from pathlib import Path

import pytest
from PIL import Image

from backmix.data import load
from backmix.data.digits import DigitsOnTextures
from backmix.data.folder import FolderSource
from backmix.data.load import available_splits, load_source, recorded
from backmix.data.source import count_per_class
from backmix.errors import DataError

REAL = os.environ.get("BACKMIX_DATA")


def fill(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(root / path)
    return root


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        pytest.fail("the network was asked")

    monkeypatch.setattr(load, "HubSource", refuse)
    monkeypatch.setattr(load, "hub_splits", refuse)


# --- the embedded digits


def test_digits_and_their_options():
    assert available_splits("digits") == ["train", "val", "test"]
    assert load_source("digits").split == "train"
    source = load_source("digits:prior=0.95, known=0123,seed=3,copies=2,image_size=48", "validation")
    assert isinstance(source, DigitsOnTextures)
    assert (source.split, source.prior, source.known, source.seed) == ("val", 0.95, tuple("0123"), 3)
    assert (source.copies, source.image_size) == (2, 48)


@pytest.mark.parametrize(
    ("spec", "split", "message"),
    [
        ("digits", "background", "no split 'background'; it has train, val, test"),
        ("digits:rate=1", "train", "no option 'rate'; it has prior, contrast, image_size"),
        ("digits:prior=high", "train", "option prior takes a number, .* got 'high'"),
        ("digits:prior", "train", "option prior takes a number, .* got ''"),
        ("digits:prior=2", "train", "prior is a rate"),
        ("digit", "train", "there is no 'digit'"),
    ],
)
def test_bad_digits(no_network, spec, split, message):
    with pytest.raises(DataError, match=message):
        load_source(spec, split)


def test_a_folder_called_digits_is_asked_about_and_reached_by_its_path(tmp_path, monkeypatch, no_network):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "config.yaml").write_text("a run called digits holds no images")
    assert isinstance(load_source("digits"), DigitsOnTextures)
    fill(tmp_path, "digits/a/1.png", "digits/b/1.png")
    for ask in (load_source, available_splits):
        with pytest.raises(DataError, match=r"write \./digits for the folder, or digits: for the embedded set"):
            ask("digits")
    for spec in ("digits:", "digits:prior=0.5", recorded("digits")):
        assert isinstance(load_source(spec), DigitsOnTextures)
    for spec in ("./digits", Path("digits")):
        assert load_source(spec).classes == ["a", "b"] and available_splits(spec) == []


# --- folders


def test_a_plain_folder_has_no_splits(tmp_path, no_network):
    fill(tmp_path, "a/1.png", "b/1.png", "train/1.png")
    assert available_splits(tmp_path) == []
    assert load_source(str(tmp_path)).classes == ["a", "b", "train"]
    with pytest.raises(DataError, match="has no split 'test'; it is not divided into splits"):
        load_source(tmp_path, "test")


def test_the_home_folder_is_understood(tmp_path, monkeypatch):
    fill(tmp_path, "a/1.png", "b/1.png")
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert load_source(f"~/{tmp_path.name}").classes == ["a", "b"]


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_a_divided_folder_shares_one_numbering(tmp_path, no_network, val):
    fill(tmp_path, "Train/dog/1.png", "Train/cat/1.png", f"{val}/dog/1.png", "test/ant/1.png", "test/dog/1.png")
    fill(tmp_path, "strange/owl/1.png", ".cache/x/1.png")
    assert available_splits(tmp_path) == ["train", "val", "test", "strange"]
    expected = {
        None: {"cat": 1, "dog": 1},
        "train": {"cat": 1, "dog": 1},
        "val": {"cat": 0, "dog": 1},
        "valid": {"cat": 0, "dog": 1},
        "test": {"cat": 0, "dog": 1, "ant": 1},
        "strange": {"cat": 0, "dog": 0, "owl": 1},
    }
    for split, counts in expected.items():
        source = load_source(tmp_path, split)
        assert isinstance(source, FolderSource) and count_per_class(source) == counts
    with pytest.raises(DataError, match="has no split 'tset'; it has train, val, test, strange"):
        load_source(tmp_path, "tset")


def test_without_train_the_split_has_to_be_named(tmp_path):
    fill(tmp_path, "val/a/1.png", "test/b/1.png")
    assert load_source(tmp_path, "test").classes == ["b"]
    with pytest.raises(DataError, match="has the splits val, test; say which"):
        load_source(tmp_path)


def test_a_test_folder_without_classes_does_not_keep_from_training(tmp_path):
    fill(tmp_path, "train/a/1.png", "train/b/1.png", "test/1.png")
    assert load_source(tmp_path, "train").classes == ["a", "b"]
    with pytest.raises(DataError, match="test has no class folders, but 1 images directly"):
        load_source(tmp_path, "test")


@pytest.mark.parametrize(
    ("paths", "split", "message"),
    [
        (("train/1.png", "test/1.png"), None, "has test, train inside, but no class folders in them"),
        (
            ("train/a/1.png", "train/b/1.png", "cat/1.png"),
            "train",
            r"the splits train beside folders of images \(cat\)",
        ),
        (("train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/b/1.png"), "val", "both stand for the split 'val'"),
        (("train/a/1.png", "test/a/1.png"), "train", "images of one class only"),
        (("train/a/1.png", "train/b/1.png", "test/x/1.png"), "test", "none of the classes of train: x instead of a, b"),
        (("train/a/1.png", "train/b/1.png", "test/A/1.png", "test/a/1.png"), "test", "differ only in case"),
    ],
)
def test_folders_that_are_not_clear(tmp_path, no_network, paths, split, message):
    with pytest.raises(DataError, match=message):
        load_source(fill(tmp_path, *paths), split)


def test_unknown_images_need_no_classes_and_a_test_may_have_one(tmp_path, no_network):
    fill(tmp_path, "strangers/bird/1.png", "loose/1.png", "set/train/a/1.png", "set/train/b/1.png", "set/unknown/1.png")
    for spec, split, expected in (
        ("strangers", None, {"bird": 1}),
        ("loose", None, {"loose": 1}),
        ("set", "unknown", {"a": 0, "b": 0, "unknown": 1}),
    ):
        assert count_per_class(load_source(tmp_path / spec, split, few=True)) == expected
    assert available_splits(tmp_path / "loose") == [] and available_splits(tmp_path / "set") == ["train", "unknown"]
    for spec, message in (("strangers", "images of one class only"), ("loose", "no class folders, but 1 images")):
        with pytest.raises(DataError, match=message):
            load_source(tmp_path / spec)
    with pytest.raises(DataError, match="is empty"):
        (tmp_path / "none").mkdir()
        load_source(tmp_path / "none", few=True)


def test_an_empty_folder_and_files_of_other_kinds(tmp_path, no_network):
    with pytest.raises(DataError, match="is empty"):
        load_source(tmp_path)
    fill(tmp_path, "photo.png")
    with pytest.raises(DataError, match="is one image; give a folder"):
        load_source(tmp_path / "photo.png")
    (tmp_path / "data.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"a file of type '\.zip'; .*unpack an archive first"):
        available_splits(tmp_path / "data.zip")


def test_a_mistyped_path_gets_a_hint_and_asks_no_network(tmp_path, monkeypatch, no_network):
    fill(tmp_path, "photos/birds/a/1.png", "photos/birds/b/1.png")
    monkeypatch.chdir(tmp_path)
    for spec in ("photos/brids", Path("photos/brids"), str(tmp_path / "photos" / "brids")):
        with pytest.raises(DataError, match=r"there is no .*brids'\. Did you mean '.*photos/birds'\? Data is 'digits'"):
            load_source(spec)
    for spec in ("nothing", "./owner/name", "/owner/name", "a/b/c", "owner/", Path("owner/name"), "owner/na me"):
        with pytest.raises(DataError, match=r"there is no .* or an id of the Hugging Face hub, 'owner/name'"):
            load_source(spec)


# --- the hub and Parquet


def test_hub_ids(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(load, "HubSource", lambda *a, **k: asked.append((*a, k["config"])))
    monkeypatch.setattr(load, "hub_splits", lambda name, config: ["test", "validation", "train"])
    assert available_splits("owner/name") == ["train", "val", "test"]
    load_source("owner/name")
    load_source("owner/name:plain_text", "val")
    (tmp_path / "owner").mkdir()
    load_source("hub:owner/name", "test")
    assert asked == [
        ("owner/name", "train", None),
        ("owner/name", "validation", "plain_text"),
        ("owner/name", "test", None),
    ]
    with pytest.raises(DataError, match="there is no"):
        load_source("owner/name")


def test_parquet_folders(tmp_path, monkeypatch, no_network):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"])})
    rows = {"image": [Image.new("RGB", (2, 2))] * 2, "label": [1, 0]}
    for split in ("valid", "train", "clutter"):
        (tmp_path / "set").mkdir(exist_ok=True)
        datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "set" / f"{split}-00000-of-00001.parquet")
    assert available_splits(tmp_path / "set") == ["train", "val", "clutter"]
    for split, name in ((None, "train"), ("val", "valid"), ("valid", "valid"), ("clutter", "clutter")):
        source = load_source(tmp_path / "set", split)
        assert source.classes == ["x", "y"] and source.name(0).endswith(f":{name}[0]")
    with pytest.raises(DataError, match="has no split 'test'; it has train, val, clutter"):
        load_source(tmp_path / "set", "test")
    file = tmp_path / "set" / "train-00000-of-00001.parquet"
    assert available_splits(file) == ["train"] and len(load_source(file)) == 2


@pytest.mark.skipif(REAL is None, reason="BACKMIX_DATA is not set: no real images")
def test_real_sets():
    assert available_splits(Path(REAL) / "tiny-imagenet") == ["train", "val"]
    assert available_splits(Path(REAL) / "msrc-v2-objects") == ["train", "test", "background"]
    assert len(load_source(Path(REAL) / "leeds-butterfly", "test")) == 206
