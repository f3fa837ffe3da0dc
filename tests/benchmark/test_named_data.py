import os
import re
from pathlib import Path

import pytest
import torch

pytest.importorskip("datasets")
pytest.importorskip("pyarrow")

import datasets
from benchmark_copies import folders, only, parquet, shrink

from backmix.benchmark import named_data
from backmix.benchmark.named_data import DATA, Split, expected_images, find_data, has_copy, open_data
from backmix.data.digits import DigitsOnTextures
from backmix.data.source import ImageSource, count_per_class
from backmix.errors import DataError

REAL = os.environ.get("BACKMIX_DATA")
CIFAR10 = DATA["cifar10"].classes
WHOLE = dict(DATA)


@pytest.fixture(autouse=True)
def _own_cache_and_no_network(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: pytest.fail("the hub was asked"))


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch, "cifar10", train=3, test=2)


@pytest.fixture
def whole(monkeypatch):
    """The data sets as they are."""
    for name, data in WHOLE.items():
        monkeypatch.setitem(DATA, name, data)


def greys(source):
    """Grey level of each image -> labels of the images that have it."""
    found = {}
    for i in range(len(source)):
        found.setdefault(source.read(i).getpixel((0, 0))[0], set()).add(int(source.labels[i]))
    return found


def refused(name, split, root, message, classes=None):
    with pytest.raises(DataError, match=message) as error:
        open_data(name, split, root=root, classes=classes)
    return str(error.value)


# --- copies that are right


@pytest.mark.parametrize("order", [CIFAR10, CIFAR10[::-1], tuple(sorted(CIFAR10, key=lambda name: name[-1]))])
def test_labels_come_from_names_whatever_the_order_in_the_file(tmp_path, order):
    parquet(tmp_path, "cifar10", "test", dict.fromkeys(CIFAR10, 2), names=order)
    source = open_data("cifar10", "test", root=tmp_path)
    assert isinstance(source, ImageSource)
    assert source.classes == list(CIFAR10) and source.labels.dtype == torch.int64
    assert greys(source) == {number: {number} for number in range(10)}
    assert source.read(0).mode == "RGB"


def test_class_folders_divided_into_splits(tmp_path):
    folders(tmp_path / "cifar10" / "train", dict.fromkeys(CIFAR10, 3))
    folders(tmp_path / "cifar10" / "testing", dict.fromkeys(CIFAR10, 2))
    assert count_per_class(open_data("cifar10", "train", root=tmp_path)) == dict.fromkeys(CIFAR10, 3)
    source = open_data("cifar10", "test", root=tmp_path)
    assert source.classes == list(CIFAR10) and greys(source) == {number: {number} for number in range(10)}


def test_other_names_of_the_folder_and_of_the_split(tmp_path, monkeypatch):
    shrink(monkeypatch, "tiny-imagenet", val=1)
    wnids = DATA["tiny-imagenet"].classes
    shuffled = [*wnids[100:], *wnids[:100]]
    parquet(tmp_path, "tiny-imagenet-200", "valid", dict.fromkeys(wnids, 1), names=shuffled)
    source = open_data("tiny-imagenet", "val", root=tmp_path)
    assert source.classes == list(wnids) == sorted(wnids)
    assert all(labels == {grey} for grey, labels in greys(source).items())


def test_numbers_alone_are_the_canonical_ones(tmp_path):
    parquet(tmp_path, "cifar10", "test", dict.fromkeys(CIFAR10, 2), numbered=True)
    assert greys(open_data("cifar10", "test", root=tmp_path)) == {number: {number} for number in range(10)}
    parquet(tmp_path, "cifar10", "train", dict.fromkeys(CIFAR10[:9], 3), numbered=True)
    refused("cifar10", "train", tmp_path, "it has 9 classes, of which 9 are none of cifar10: '0', '1'")


def test_a_copy_of_some_classes_will_do_for_these(tmp_path):
    parquet(tmp_path, "cifar10", "train", dict.fromkeys(CIFAR10, 0) | {"cat": 3, "dog": 3, "ship": 2}, names=CIFAR10)
    source = open_data("cifar10", "train", root=tmp_path, classes=["dog", "cat"])
    assert source.classes == list(CIFAR10) and len(source) == 8
    message = refused("cifar10", "train", tmp_path, "1 of the 2 classes that are needed", classes=["dog", "ship"])
    assert "ship has 2 instead of 3" in message and "it has 8 images of 3 classes" in message
    assert "'train' has 30 images of 10 classes" in message and str(tmp_path / "cifar10") in message
    refused("cifar10", "train", tmp_path, "8 of the 10 classes that are needed .*airplane has 0 instead of 3")
    # The same in folders, where the classes that are not there are not even named.
    folders(tmp_path / "cifar-10" / "train", {"cat": 3, "dog": 3})
    (tmp_path / "cifar10").rename(tmp_path / "elsewhere")
    assert len(open_data("cifar10", "train", root=tmp_path, classes=["dog", "cat"])) == 6
    refused("cifar10", "train", tmp_path, "airplane has 0 instead of 3", classes=["airplane", "cat"])


def test_classes_of_different_sizes(tmp_path, monkeypatch):
    sizes = (3, 1, 2, 1, 1, 1, 1, 1, 1, 1)
    shrink(monkeypatch, "mnist", test=sizes)
    counts = dict(zip(map(str, range(10)), sizes))
    parquet(tmp_path, "mnist", "test", counts)
    assert count_per_class(open_data("mnist", "test", root=tmp_path)) == counts
    parquet(tmp_path, "mnist", "test", counts | {"0": 2, "1": 2})
    refused("mnist", "test", tmp_path, "2 of the 10 classes .*0 has 2 instead of 3; 1 has 2 instead of 1")


def test_ranges_of_sizes_and_their_sum(tmp_path, monkeypatch):
    only(monkeypatch, "intel-scenes", test=Split(9, range(1, 3)))
    names = DATA["intel-scenes"].classes
    good = dict(zip(names, (1, 2, 1, 2, 1, 2)))
    parquet(tmp_path, "intel-scenes", "test", good)
    assert len(open_data("intel-scenes", "test", root=tmp_path)) == 9
    parquet(tmp_path, "intel-scenes", "test", good | {"forest": 1})
    refused("intel-scenes", "test", tmp_path, r"it has 8 images\. Expected: 'test' has 9 images")
    assert len(open_data("intel-scenes", "test", root=tmp_path, classes=["sea"])) == 8
    parquet(tmp_path, "intel-scenes", "test", good | {"forest": 3})
    refused("intel-scenes", "test", tmp_path, "forest has 3 instead of 1 to 2", classes=["forest"])


def test_a_split_made_of_two_others(tmp_path, monkeypatch):
    names = DATA["fgvc-aircraft"].classes
    shrink(monkeypatch, "fgvc-aircraft", train=2, val=1, trainval=3)
    parquet(tmp_path, "fgvc-aircraft", "train", dict.fromkeys(names, 2))
    parquet(tmp_path, "fgvc-aircraft", "validation", dict.fromkeys(names, 1), names=names[::-1])
    source = open_data("fgvc-aircraft", "trainval", root=tmp_path)
    assert source.classes == list(names) and set(count_per_class(source).values()) == {3}
    assert all(labels == {grey} for grey, labels in greys(source).items())
    parquet(tmp_path, "fgvc-aircraft", "trainval", dict.fromkeys(names, 3))
    assert "trainval[0]" in open_data("fgvc-aircraft", "trainval", root=tmp_path).name(0)


def test_classes_that_are_not_listed_are_passed_over_where_that_is_meant(tmp_path, monkeypatch):
    shrink(monkeypatch, "imagenet-21k-p", val=1)
    listed = DATA["imagenet-21k-p"].classes
    wanted = {listed[5]: 1, "n99999999": 4, listed[2]: 1}
    folders(tmp_path / "imagenet-21k-p" / "val", wanted)
    source = open_data("imagenet-21k-p", "val", root=tmp_path, classes=[listed[2], listed[5]])
    assert source.classes == list(listed) and greys(source) == {0: {5}, 2: {2}}


def test_images_that_are_all_of_one_class(tmp_path, monkeypatch):
    only(monkeypatch, "inaturalist-ood", test=Split(5, 5))
    folders(tmp_path / "inaturalist" / "images", {"one": 3, "two": 2})
    source = open_data("inaturalist-ood", "test", root=tmp_path)
    assert source.classes == ["plant"] and source.labels.tolist() == [0] * 5
    folders(tmp_path / "inaturalist" / "images", {"one": 4})
    refused("inaturalist-ood", "test", tmp_path, "plant has 6 instead of 5")
    parquet(tmp_path, "inaturalist-ood", "test", {"fern": 3, "moss": 2})
    assert open_data("inaturalist-ood", "test", root=tmp_path).labels.tolist() == [0] * 5


def test_the_embedded_digits_need_no_copy():
    source = open_data("digits:prior=0.5,known=012", "test")
    assert isinstance(source, DigitsOnTextures) and source.prior == 0.5 and source.known == ("0", "1", "2")
    assert has_copy("digits", None) and has_copy("digits:prior=1", Path("nowhere"))
    assert expected_images("digits", "train", ["0", "1"]) == int((open_data("digits", "train").labels < 2).sum())


# --- copies that are wrong


def test_copies_of_something_else(tmp_path):
    parquet(tmp_path, "cifar10", "test", dict.fromkeys([*CIFAR10[:9], "zebra"], 2))
    message = refused("cifar10", "test", tmp_path, "it has 10 classes, of which 1 are none of cifar10: 'zebra'")
    assert "expected names such as 'airplane', 'automobile', 'bird'" in message
    parquet(tmp_path, "cifar10", "test", dict.fromkeys(["Airplane", "air plane", *CIFAR10[2:]], 2))
    refused("cifar10", "test", tmp_path, "two of its classes stand for 'airplane'")
    parquet(tmp_path, "cifar10", "test", dict.fromkeys(CIFAR10, 5))
    refused("cifar10", "test", tmp_path, "10 of the 10 classes .*airplane has 5 instead of 2")


def test_images_without_a_class(tmp_path, monkeypatch):
    parquet(tmp_path, "cifar10", "test", dict.fromkeys(CIFAR10, 2))
    opened = named_data.load_source(tmp_path / "cifar10", "test")
    opened.labels[3:5] = -1
    monkeypatch.setattr(named_data, "load_source", lambda *a: opened)
    refused("cifar10", "test", tmp_path, "2 of its images have no class", classes=["truck"])


def test_splits_that_are_not_there(tmp_path):
    parquet(tmp_path, "cifar10", "test", dict.fromkeys(CIFAR10, 2))
    refused("cifar10", "train", tmp_path, "has no split 'train'; it has test")
    refused("cifar10", "validation", tmp_path, "cifar10 has no split 'validation'; it has train, test")
    folders(tmp_path / "svhn", {"0": 1, "1": 1})
    message = refused("svhn", "test", tmp_path, "it is not divided into splits")
    assert "'test' has 26032 images of 10 classes (use the cropped digits" in message
    with pytest.raises(DataError, match="no split 'validation'"):
        expected_images("cifar10", "validation", ["cat"])


def test_no_copy(tmp_path):
    (tmp_path / "mnist").mkdir()
    message = refused("cifar10", "test", tmp_path, "there is no copy of cifar10 in ")
    assert "looked for cifar10 or cifar-10, found mnist" in message and "uoft-cs/cifar10 from the hub" in message
    refused("intel-scenes", "test", tmp_path, "the hub has no copy")
    refused("cifar10", "test", tmp_path / "nowhere", "there is no folder .*nowhere")
    refused("mnist", "test", tmp_path, r"the copy of mnist in .* cannot be used: .* is empty")
    assert has_copy("mnist", tmp_path) and not has_copy("cifar10", tmp_path)


def test_names_that_do_not_exist(tmp_path):
    refused("cifar-100", "test", tmp_path, "no data set 'cifar-100'; there are mnist, .*did you mean cifar100")
    refused("cifar10", "test", tmp_path, "cifar10 has no class 'trucks'; did you mean truck", classes=["trucks"])
    for call in (lambda: find_data("tiny"), lambda: has_copy("tiny", None), lambda: expected_images("tiny", "val", [])):
        with pytest.raises(DataError, match="no data set 'tiny'"):
            call()


# --- the hub, without a network


def hub(monkeypatch, names, labels, column="label", **more):
    asked = []

    def load(name, config=None, split=None):
        asked.append((name, config, split))
        features = {"image": datasets.Image(), column: datasets.ClassLabel(names=list(names))}
        features |= {key: datasets.ClassLabel(names=["x"]) for key in more}
        content = {"image": [{"bytes": b"", "path": None}] * len(labels), column: labels, **more}
        return datasets.Dataset.from_dict(content, datasets.Features(features))

    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


def test_without_a_root_the_hub_is_asked(monkeypatch):
    shrink(monkeypatch, "svhn", test=1)
    asked = hub(monkeypatch, [str(i) for i in range(10)], list(range(10)))
    assert open_data("svhn", "test").labels.tolist() == list(range(10))
    shrink(monkeypatch, "tiny-imagenet", val=1)
    wnids = DATA["tiny-imagenet"].classes
    later = hub(monkeypatch, wnids[::-1], list(range(200)))
    assert open_data("tiny-imagenet", "val").labels.tolist() == list(range(200))[::-1]
    assert asked == [("ufldl-stanford/svhn", "cropped_digits", "test")]
    assert later == [("zh-plus/tiny-imagenet", None, "valid")]


def test_the_hub_has_several_columns_of_labels(monkeypatch):
    shrink(monkeypatch, "fgvc-aircraft", test=1)
    names = DATA["fgvc-aircraft"].classes
    asked = hub(monkeypatch, names, list(range(100)), column="variant", family=[0] * 100, manufacturer=[0] * 100)
    assert open_data("fgvc-aircraft", "test").labels.tolist() == list(range(100))
    assert asked == [("HuggingFaceM4/FGVC-Aircraft", None, "test")]


def test_what_the_hub_has_is_checked_too(monkeypatch):
    hub(monkeypatch, CIFAR10, [0] * 20)
    refused("cifar10", "test", None, r"cifar10 from the hub \(uoft-cs/cifar10\) cannot be used: 10 of the 10 classes")
    refused("dtd-part", "test", None, "the hub has no copy that is known; name a folder")
    assert has_copy("cifar10", None) and not has_copy("dtd-part", None)


def test_the_hub_cannot_be_reached(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    refused("cifar10", "test", None, "from the hub .*ConnectionError: no route")
    refused("fgvc-aircraft", "test", None, "from the hub .*ConnectionError: no route")


# --- numbers of images


def test_expected_images(whole):
    assert expected_images("cifar10", "train", CIFAR10[:6]) == 30_000
    assert expected_images("tiny-imagenet", "val", DATA["tiny-imagenet"].classes[:20]) == 1000
    assert expected_images("mnist", "test", ["0", "9"]) == 980 + 1009
    assert expected_images("svhn", "test", DATA["svhn"].classes) == 26_032
    assert expected_images("cub", "train", DATA["cub"].classes[:100]) == 2997  # half; the sizes differ by one
    with pytest.raises(DataError, match="no class 'kat'; did you mean cat"):
        expected_images("cifar10", "train", ["kat"])


# --- real images


@pytest.mark.skipif(REAL is None, reason="BACKMIX_DATA is not set: no real images")
@pytest.mark.parametrize(
    ("name", "split", "images"),
    [
        ("cifar10", "train", 50_000),
        ("cifar10", "test", 10_000),
        ("tiny-imagenet", "val", 10_000),
        ("mnist", "test", 10_000),
        ("dtd-part", "train", 800),
        ("dtd-part", "test", 400),
        ("intel-scenes", "train", 600),
        ("intel-scenes", "test", 300),
    ],
)
def test_real_copies_that_are_whole(whole, name, split, images):
    source = open_data(name, split, root=Path(REAL))
    assert len(source) == images and source.classes == list(DATA[name].classes)
    assert source.read(0).mode == "RGB" and int(source.labels.min()) == 0


@pytest.mark.skipif(REAL is None, reason="BACKMIX_DATA is not set: no real images")
def test_real_copies_that_are_not(whole):
    refused("mnist", "train", Path(REAL), "has no split 'train'; it has test")
    message = refused("tiny-imagenet", "train", Path(REAL), "164 of the 200 classes that are needed")
    assert re.search("n01629819 has 0 instead of 500.*18000 images of 36 classes.*100000 images of 200", message)
    source = open_data("tiny-imagenet", "train", root=Path(REAL), classes=["n01443537", "n07753592"])
    assert len(source) == 18_000
