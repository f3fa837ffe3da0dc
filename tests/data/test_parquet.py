import io
import json
import multiprocessing
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.data.images import ImageError
from backmix.data.load import available_splits, choose_known, load_source
from backmix.data.parquet import HubSource, ParquetSource, parquet_splits
from backmix.data.source import ImageSource, count_per_class, find_unreadable
from backmix.errors import DataError

datasets = pytest.importorskip("datasets")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

REAL = os.environ.get("BACKMIX_DATA")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def encode(grey, mode="RGB"):
    buffer = io.BytesIO()
    Image.new("L", (3, 2), grey).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def cell(content, path=None):
    return {"bytes": content, "path": path}


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path, *, names=("cat", "dog"), image="image", label="label", labels=(0, 1, 0), images=None, **columns):
    """A table as the hub has them; labels and extra columns as given, images greys 0, 1, 2 ..."""
    if images is None:
        images = [cell(encode(i), f"{i}.png") for i in range(len(labels))]
    data = {image: pa.array(images, STRUCT)} if image else {}
    features = {image: {"_type": "Image"}} if image else {}
    if label:
        data[label] = pa.array(labels)
        kind = {"_type": "Value", "dtype": str(data[label].type)}
        features[label] = {"names": list(names), "_type": "ClassLabel"} if names is not None else kind
    for name, column in columns.items():
        data[name] = column
        features[name] = {"_type": "Image"} if column.type == STRUCT else {"_type": "Value", "dtype": str(column.type)}
    table = pa.table(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path)
    return path


def test_rows_become_images_labels_and_names(tmp_path):
    path = write(tmp_path / "train-00000-of-00001.parquet", labels=(0, 1, -1, None))
    source = ParquetSource(tmp_path)
    assert isinstance(source, ImageSource) and len(source) == 4
    assert source.classes == ["cat", "dog"]
    assert source.labels.tolist() == [0, 1, -1, -1] and source.labels.dtype == torch.int64
    assert [source.read(i).getpixel((0, 0)) for i in range(4)] == [(i,) * 3 for i in range(4)]
    assert source.read_mask(0) is None
    assert source.name(3) == f"{tmp_path}:train[3] (3.png)"
    assert count_per_class(source) == {"cat": 1, "dog": 1}
    assert ParquetSource(path).name(0) == f"{path}:train[0] (0.png)"
    for call in (source.read, source.read_mask, source.name):
        with pytest.raises(IndexError, match="no image 4"):
            call(4)
        with pytest.raises(IndexError):
            call(-1)


def test_masks_are_handed_out_as_they_are(tmp_path):
    masks = pa.array([cell(encode(grey, "L")) for grey in (0, 128, 255)] + [None], STRUCT)
    source = ParquetSource(write(tmp_path / "a.parquet", labels=(0, 1, 0, 1), mask=masks))
    assert [source.read_mask(i).getpixel((0, 0)) for i in range(3)] == [0, 128, 255]
    assert source.read_mask(0).mode == "L" and source.read_mask(3) is None
    assert source.read(1).getpixel((0, 0)) == (1, 1, 1)


@pytest.mark.parametrize("image", ["image", "img", "photo"])
@pytest.mark.parametrize("label", ["label", "fine_label", "kind"])
def test_columns_are_found(tmp_path, image, label):
    others = {"coarse": pa.array([5, 6, 7]), "text": pa.array(["a", "b", "c"])}
    source = ParquetSource(write(tmp_path / "a.parquet", image=image, label=label, **others))
    assert source.labels.tolist() == [0, 1, 0] and source.read(2).getpixel((0, 0)) == (2, 2, 2)


def test_a_named_column_wins_over_others_of_its_kind(tmp_path):
    other = pa.array([cell(encode(99))] * 3, STRUCT)
    source = ParquetSource(write(tmp_path / "a.parquet", image="img", thumbnail=other))
    assert source.read(2).getpixel((0, 0)) == (2, 2, 2)


def test_labels_without_names_are_their_own(tmp_path):
    numbers = ParquetSource(write(tmp_path / "a.parquet", names=None, labels=(2, 0, -1)))
    assert numbers.classes == ["0", "2"] and numbers.labels.tolist() == [1, 0, -1]
    texts = ParquetSource(write(tmp_path / "b.parquet", names=None, labels=("dog 10", "dog 9", None)))
    assert texts.classes == ["dog 9", "dog 10"] and texts.labels.tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ((47126, 3, 48460, 3), ["3", "47126", "48460"], [1, 0, 2, 0]),
        ((40_000_001, 7, -1, None), ["7", "40000001"], [1, 0, -1, -1]),
        (pa.array([2**63 + 5, 3], pa.uint64()), ["3", "9223372036854775813"], [1, 0]),
        ((True, False, True), ["False", "True"], [1, 0, 1]),
        (pa.array(["b", "a"], pa.large_string()), ["a", "b"], [1, 0]),
    ],
)
def test_ids_are_names_and_only_those_that_occur_are_classes(tmp_path, labels, classes, expected):
    source = ParquetSource(write(tmp_path / "a.parquet", names=None, labels=labels))
    assert source.classes == classes and source.labels.tolist() == expected


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.float64(), pa.string()], ids=str)
@pytest.mark.parametrize("label", [10**12, 2**62])
def test_nothing_has_the_size_of_a_label(tmp_path, kind, label):
    labels = pa.array([i % 3 for i in range(29)] + [label]).cast(kind, safe=False)
    path = write(tmp_path / "a.parquet", names=None, labels=labels)
    tracemalloc.start()
    try:
        if kind == pa.float64():
            with pytest.raises(DataError, match=r"one column of labels: .* Its columns: .*label \(float64\)"):
                ParquetSource(path)
        else:
            source = ParquetSource(path)
            assert source.classes == ["0", "1", "2", str(label)] and source.labels.tolist()[-2:] == [1, 3]
            assert list(count_per_class(source).values()) == [10, 10, 9, 1]
            assert choose_known(source.classes, None) == [0, 1, 2, 3]
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_with_names_the_row_of_such_a_label_is_named(tmp_path):
    path = write(tmp_path / "train.parquet", names=("a", "b", "c"), labels=[i % 3 for i in range(29)] + [10**12])
    with pytest.raises(DataError, match=r"train\.parquet:train: row 29 has label 1000000000000, but"):
        ParquetSource(path)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"names": [1, 2, 3]}, r":a: the names of classes are texts; found 1 in column 'label'"),
        ({"num_classes": 10**12}, "cannot be read as Parquet"),
        ({"names": None}, "cannot be read as Parquet"),
        ({"names": ["a", "a", "b"]}, "cannot be read as Parquet"),
        ({"names_file": "/etc/hostname"}, "cannot be read as Parquet"),
    ],
)
def test_class_labels_that_are_declared_otherwise(tmp_path, declared, message):
    path = write(tmp_path / "a.parquet", labels=(0, 1, 2))
    table = pq.read_table(path)
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", **declared}}
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path)
    with pytest.raises(DataError, match=message):
        ParquetSource(path)


@pytest.mark.parametrize("binary", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
@pytest.mark.parametrize("string", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
@pytest.mark.parametrize("struct", [False, True])
def test_large_types_and_views_of_arrow(tmp_path, binary, string, struct):
    if int(pa.__version__.split(".")[0]) < 21 and "view" in f"{binary} {string}":
        pytest.skip("pyarrow before 21 reads Parquet files with Arrow's view types, and cannot write one for this test")
    kind = pa.struct([("bytes", binary), ("path", string)]) if struct else binary
    images = [cell(encode(i)) if struct else encode(i) for i in range(3)]
    table = pa.table({"image": pa.array(images, kind), "label": pa.array(["b", "a", None], string)})
    pq.write_table(table, tmp_path / "a.parquet")
    source = ParquetSource(tmp_path / "a.parquet")
    assert source.classes == ["a", "b"] and source.labels.tolist() == [1, 0, -1]
    assert source.read(2).getpixel((0, 0)) == (2, 2, 2)


def test_a_table_of_something_else_does_not_hide_class_folders(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name / "1.png")
    pq.write_table(pa.table({"path": ["a"], "weight": [1]}), tmp_path / "metadata.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    source = load_source(tmp_path)
    assert available_splits(tmp_path) == [] and source.classes == ["cat", "dog"]
    assert "2 files are not images by the extension: .parquet (2)" in source.notes()
    write(tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"folders of images and tables that may hold images too \(train.parquet\)"):
        load_source(tmp_path)


def test_files_that_say_nothing_of_their_columns(tmp_path):
    table = pa.table({"image": pa.array([encode(7), encode(8)]), "label": pa.array(["x", "y"])})
    pq.write_table(table, tmp_path / "plain.parquet")
    source = ParquetSource(tmp_path / "plain.parquet")
    assert source.read(1).getpixel((0, 0)) == (8, 8, 8) and source.classes == ["x", "y"]
    pq.write_table(pa.table({"image": pa.array([cell(encode(9))], STRUCT), "label": [0]}), tmp_path / "struct.parquet")
    assert ParquetSource(tmp_path / "struct.parquet").read(0).getpixel((0, 0)) == (9, 9, 9)


def test_splits_are_told_from_file_names(tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001-0123456789abcdef", "my-own"):
        write(tmp_path / f"{name}.parquet")
    found = {split: [file.name for file in files] for split, files in parquet_splits(tmp_path).items()}
    assert sorted(found) == ["my-own", "test", "train"]
    assert found["train"] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert len(ParquetSource(tmp_path, "train")) == 6
    with pytest.raises(DataError, match=r"has the splits .*; say which one"):
        ParquetSource(tmp_path)
    with pytest.raises(DataError, match="has no split 'val'; it has my-own, test, train"):
        ParquetSource(tmp_path, "val")
    (tmp_path / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"split 'train' should be in 2 files .* there are 1"):
        ParquetSource(tmp_path, "test")


def test_a_copy_of_a_hub_repository_keeps_its_files_in_data(tmp_path):
    write(tmp_path / "data" / "test-00000-of-00001.parquet")
    assert len(ParquetSource(tmp_path)) == 3


def test_a_path_is_no_pattern(tmp_path):
    for folder, labels in (("a[12]*", (0, 1)), ("a1", (0, 1, 0))):
        write(tmp_path / folder / "train.parquet", labels=labels)
    assert len(ParquetSource(tmp_path / "a[12]*")) == 2


def test_a_file_that_changed_is_read_anew(tmp_path):
    path = write(tmp_path / "a.parquet")
    assert len(ParquetSource(path)) == 3
    write(path, labels=(1, 1))
    os.utime(path, (1, 1))
    assert ParquetSource(path).labels.tolist() == [1, 1]


def test_bad_images_are_found_row_by_row(tmp_path):
    images = [cell(encode(0)), cell(b"junk", "junk.png"), None, cell(None), cell(b""), cell(None, "/no/such.png")]
    source = ParquetSource(write(tmp_path / "a.parquet", labels=(0,) * 6, images=images))
    errors = find_unreadable(source)
    assert {i: error.reason[:12] for i, error in errors.items()} == {
        1: "not an image",
        2: "the row has ",
        3: "the row has ",
        4: "empty (0 byt",
        5: "the row hold",
    }
    assert errors[1].path == f"{tmp_path / 'a.parquet'}:a[1] (junk.png)"
    masks = pa.array([cell(b"junk")], STRUCT)
    source = ParquetSource(write(tmp_path / "b.parquet", labels=(0,), mask=masks))
    with pytest.raises(ImageError, match=r"b\.parquet:b\[0\] .*: its mask: not an image"):
        source.read_mask(0)


def test_a_row_may_name_a_file_in_the_folder_of_the_data_alone(tmp_path, monkeypatch):
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    for place in (folder / "photos", elsewhere):
        place.mkdir(parents=True)
        (place / "1.png").write_bytes(encode(77))
    (folder / "out.png").symlink_to(elsewhere / "1.png")
    (folder / "away").symlink_to(elsewhere)
    (folder / "circle").symlink_to(folder / "circle")
    os.mkfifo(folder / "pipe")
    (folder / "notes.txt").write_text("no picture")
    inside = ["photos/1.png", str(folder / "photos" / "1.png"), "photos/../photos/1.png", "../data/photos/1.png"]
    outside = {
        str(elsewhere / "1.png"): "leads out",
        "../elsewhere/1.png": "leads out",
        "photos/../../elsewhere/1.png": "leads out",
        "out.png": "leads out",
        "away/1.png": "leads out",
        "/dev/zero": "leads out",
        "/proc/self/fd/0": "leads out",
        f"file://{folder}/photos/1.png": "addresses are not fetched",
        "http://127.0.0.1:9/1.png": "addresses are not fetched",
        "hf://datasets/owner/name/1.png": "addresses are not fetched",
        "zip://1.png::photos.zip": "addresses are not fetched",
        "a\0b": "cannot be the path",
        "x" * 5000: "cannot be the path|cannot be read",
        "circle": "cannot be the path|leads out|no such|cannot be read",
        "pipe": "not a regular file",
        "photos": "a folder, not an image",
        "notes.txt": "not an image",
        "C:\\Windows\\1.png": "no such file",
        "~/1.png": "no such file",
        "": "a folder, not an image",
    }
    paths = [*inside, *outside]
    write(folder / "a.parquet", labels=(0,) * len(paths), images=[cell(None, path) for path in paths])
    monkeypatch.chdir(elsewhere)  # The folder where the command runs is no folder of the data.
    for source in (ParquetSource(folder), ParquetSource(folder / "a.parquet"), ParquetSource("../data/a.parquet")):
        assert [source.read(i).getpixel((0, 0)) for i in range(len(inside))] == [(77,) * 3] * len(inside)
        assert len({source.content_key(i) for i in range(len(inside))}) == 1
        for i, reason in enumerate(outside.values(), len(inside)):
            for ask in (source.read, source.undeclared_limits):
                with pytest.raises(ImageError, match=reason) as error:
                    ask(i)
                assert error.value.path.startswith(f"{source.name(0).split(':a[')[0]}:a[{i}]")
        for i in range(len(inside), len(inside) + 13):
            with pytest.raises(ImageError, match=rf":a\[{i}\] .*: (the row holds|cannot be read)") as error:
                source.content_key(i)
            assert len(str(error.value)) < 600 and str(error.value).isprintable()


def test_a_mask_may_name_a_file_in_the_folder_of_the_data_alone(tmp_path):
    (tmp_path / "data").mkdir()
    for place in (tmp_path, tmp_path / "data"):
        (place / "m.png").write_bytes(encode(255, "L"))
    masks = pa.array([cell(None, "m.png"), cell(None, "../m.png"), None], STRUCT)
    source = ParquetSource(write(tmp_path / "data" / "a.parquet", mask=masks))
    assert source.read_mask(0).getpixel((0, 0)) == 255 and source.read_mask(2) is None
    with pytest.raises(ImageError, match=r":a\[1\] .*: its mask: the row holds no image but the path '../m.png'"):
        source.read_mask(1)


@pytest.mark.parametrize(
    ("content", "path", "reason"),
    [
        (pa.array([1, 0, 0]), pa.array(["a", "b", "c"]), "holds int where the bytes"),
        (pa.array(["/etc/hostname"] * 3), pa.array(["a", "b", "c"]), "holds str where the bytes"),
        (pa.nulls(3, pa.binary()), pa.array([0, 1, 2]), "holds int where the path"),
    ],
)
def test_bytes_and_paths_of_other_types_open_nothing(tmp_path, content, path, reason):
    images = pa.StructArray.from_arrays([content, path], ["bytes", "path"])
    pq.write_table(pa.table({"image": images, "label": ["x", "y", "x"]}), tmp_path / "a.parquet")
    with pytest.raises(ImageError, match=reason):
        ParquetSource(tmp_path / "a.parquet").read(0)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"image": None}, r"one column of images: .*; found none\. Its columns: label"),
        ({"label": None}, r"one column of labels: .*; found none\. Its columns: image \(PIL"),
        ({"image": "x", "y": pa.array([cell(b"")] * 3, STRUCT)}, "column of images: .*; found several: x, y"),
        ({"labels": (0, 1, 2)}, r"row 2 has label 2, but there are 2 class names, so labels go from 0 to 1, .*1 rows"),
        ({"labels": (0, -2, -3)}, r"row 1 has label -2, .*\(2 rows are wrong\)"),
        ({"names": ("Cat", "cat")}, "differ only in case"),
        ({"labels": (0.5, 1.0, 2.0), "names": None}, r"one column of labels: .*; found none"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, table, message):
    with pytest.raises(DataError, match=message):
        ParquetSource(write(tmp_path / "a.parquet", **table))


def test_paths_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="there is no file or folder"):
        ParquetSource(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"there are no \.parquet files"):
        ParquetSource(tmp_path)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=r"broken\.parquet cannot be read as Parquet"):
        ParquetSource(tmp_path / "broken.parquet")


def test_memory_stays_bounded_and_workers_can_have_a_copy(tmp_path):
    source = ParquetSource(write(tmp_path / "a.parquet", labels=(0, 1) * 500))
    content = pickle.dumps(source)
    assert len(content) < 40_000
    assert pickle.loads(content).read(5).getpixel((0, 0)) == (5, 5, 5)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(source.name, (999,)).endswith("[999] (999.png)")


def test_progress_bars_are_left_as_they_were(tmp_path, capsys):
    datasets.enable_progress_bars()
    ParquetSource(write(tmp_path / "a.parquet"))
    assert datasets.is_progress_bar_enabled()
    assert capsys.readouterr() == ("", "")


# --- the hub, without a network


def table():
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"])})
    return datasets.Dataset.from_dict({"img": [cell(encode(i)) for i in range(2)], "label": [1, 0]}, features)


def test_the_hub_hands_out_the_same(monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: asked.append((a, k)) or table())
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *a: ["all"])
    source = HubSource("owner/name", config="plain")
    assert asked == [(("owner/name", "plain"), {"split": "all"})]
    assert source.classes == ["x", "y"] and source.labels.tolist() == [1, 0]
    assert source.read(1).getpixel((0, 0)) == (1, 1, 1) and source.name(0) == "owner/name:all[0]"
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *a: ["train", "test"])
    with pytest.raises(DataError, match="has the splits train, test; say which"):
        HubSource("owner/name")


def test_images_of_the_hub_that_are_files_lie_among_its_downloads(monkeypatch, tmp_path):
    repository, other = tmp_path / "datasets--owner--name", tmp_path / "datasets--owner--other"
    for place in (repository, other, tmp_path):
        place.mkdir(exist_ok=True)
        (place / "1.png").write_bytes(encode(5))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", str(tmp_path / "downloads"))
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"])})
    paths = [str(place / "1.png") for place in (repository, other, tmp_path)]
    made = datasets.Dataset.from_dict({"img": [cell(None, path) for path in paths], "label": [1, 0, 0]}, features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: made)
    source = HubSource("owner/name", "train")
    assert source.read(0).getpixel((0, 0)) == (5, 5, 5)
    for i in (1, 2):
        with pytest.raises(ImageError, match=rf"owner/name:train\[{i}\].* leads out"):
            source.read(i)


def test_without_a_network_the_error_says_so(monkeypatch):
    def refuse(*args, **kwargs):
        try:
            raise OSError("Name or service not known\nand much more")
        except OSError as error:
            raise ConnectionError("Couldn't reach the Hub") from error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    monkeypatch.setattr(datasets, "get_dataset_split_names", refuse)
    for split in ("train", None):
        with pytest.raises(DataError, match=r"'owner/name' .*: OSError: Name or service not known\. Check"):
            HubSource("owner/name", split)


def test_without_datasets_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(DataError, match=r'pip install "backmix\[data\]"'):
        ParquetSource(write(tmp_path / "a.parquet"))


# --- real images


@pytest.mark.skipif(REAL is None, reason="BACKMIX_DATA is not set: no real images")
def test_cifar10():
    source = ParquetSource(Path(REAL) / "cifar10", "test")
    assert len(source) == 10_000 and set(count_per_class(source).values()) == {1000}
    assert source.classes[:3] == ["airplane", "automobile", "bird"]
    images = np.stack([np.asarray(source.read(i)) for i in range(0, 10_000, 50)])
    assert images.shape == (200, 32, 32, 3) and 100 < images.mean() < 140
    assert source.classes[source.labels[3]] in source.name(3)


@pytest.mark.skipif(REAL is None, reason="BACKMIX_DATA is not set: no real images")
def test_butterflies_with_masks():
    source = ParquetSource(Path(REAL) / "leeds-butterfly", "train")
    assert len(source) == 626 and len(source.classes) == 10
    shares = []
    for i in range(0, 626, 10):
        image, mask = source.read(i), source.read_mask(i)
        assert image.size == mask.size and max(image.size) == 160
        shares.append((np.asarray(mask) == 255).mean())
    assert min(shares) >= 0.02 and max(shares) <= 0.67 and 0.2 < np.mean(shares) < 0.3


@pytest.mark.skipif(REAL is None, reason="BACKMIX_DATA is not set: no real images")
def test_a_split_without_classes():
    source = ParquetSource(Path(REAL) / "msrc-v2-objects", "background")
    assert len(source) == 94 and set(source.labels.tolist()) == {-1} and len(source.classes) == 14
