import os
import pickle
from pathlib import Path

import pytest
import torch

pytest.importorskip("datasets")
pytest.importorskip("pyarrow")

import datasets
from benchmark_copies import folders, only, parquet, shrink

from backmix.benchmark.named_data import DATA, Split
from backmix.benchmark.protocols import find_protocol
from backmix.benchmark.trial import Trial
from backmix.benchmark.trial import TrialPart as Part
from backmix.benchmark.trial_data import load_trial
from backmix.data.source import ImageSource, count_per_class
from backmix.errors import DataError

REAL = os.environ.get("BACKMIX_DATA")
CIFAR10 = DATA["cifar10"].classes


@pytest.fixture(autouse=True)
def _own_cache_and_no_network(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: pytest.fail("the hub was asked"))


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """CIFAR-10 with its classes in another order, and CIFAR-100; the grey level of an image is its canonical class."""
    shrink(monkeypatch, "cifar10", train=3, test=2)
    shrink(monkeypatch, "cifar100", test=1)
    parquet(tmp_path, "cifar10", "train", dict.fromkeys(CIFAR10, 3), names=CIFAR10[::-1])
    parquet(tmp_path, "cifar10", "test", dict.fromkeys(CIFAR10, 2), names=CIFAR10[5:] + CIFAR10[:5])
    folders(tmp_path / "cifar100" / "test", dict.fromkeys(DATA["cifar100"].classes, 1))
    return tmp_path


def greys(source):
    return [source.read(i).getpixel((0, 0))[0] for i in range(len(source))]


@pytest.mark.parametrize("split_list", ["arpl", "neal", "f1", "cssr"])
def test_images_and_labels(copies, split_list):
    for trial in find_protocol("cifar10").trials(split_list).values():
        data = load_trial(trial, copies)
        known = [CIFAR10.index(name) for name in trial.train.classes]
        assert isinstance(data.train, ImageSource) and data.train.classes == list(trial.train.classes)
        assert count_per_class(data.train) == dict.fromkeys(trial.train.classes, 3)
        assert greys(data.train) == [known[label] for label in data.train.labels.tolist()]
        (test,) = data.tests.values()
        assert list(data.tests) == ["unknown"] and isinstance(test, ImageSource)
        assert test.classes == list(trial.train.classes) and test.labels.dtype == torch.int64
        labels, levels = test.labels.tolist(), greys(test)
        assert len(test) == 20 and labels == [known.index(level) if level in known else -1 for level in levels]
        assert sorted(levels) == sorted([*range(10)] * 2)
        assert labels[:12] == [label for label in labels if label >= 0]
        assert pickle.loads(pickle.dumps(test)).labels.tolist() == labels


def test_no_unknown_image_is_trained_on(copies):
    trial = find_protocol("cifar10").trials("cssr")["a"]
    unknown = {CIFAR10.index(name) for name in trial.unknown["unknown"].classes}
    train = load_trial(trial, copies).train
    assert not set(greys(train)) & unknown and int(train.labels.min()) == 0
    names = {train.name(i) for i in range(len(train))}
    assert all("train" in name for name in names)


def test_unknown_images_of_another_data_set(copies):
    trial = find_protocol("cifar+10").trials("neal")["a"]
    test = load_trial(trial, copies).tests["cifar100"]
    assert len(test) == 4 * 2 + 10 and test.labels.tolist()[8:] == [-1] * 10
    wanted = {DATA["cifar100"].classes.index(name) for name in trial.unknown["cifar100"].classes}
    assert set(greys(test)[8:]) == wanted
    assert test.classes == ["airplane", "automobile", "ship", "truck"]


def test_sets_without_a_copy_are_left_out_unless_asked_for(copies):
    trial = find_protocol("cifar10-ood").trials()["a"]
    data = load_trial(trial, copies)
    assert list(data.tests) == ["cifar100"] and len(data.tests["cifar100"]) == 20 + 100
    assert len(data.notes) == 6
    assert f"the unknown set svhn is left out: there is no copy of svhn in {copies}" in data.notes
    with pytest.raises(DataError, match="there is no copy of svhn"):
        load_trial(trial, copies, unknown_sets=["cifar100", "svhn"])
    asked = load_trial(trial, copies, unknown_sets=["cifar100"])
    assert list(asked.tests) == ["cifar100"] and asked.notes == ()


def test_a_copy_that_is_there_and_not_whole_is_not_left_out(copies, monkeypatch):
    only(monkeypatch, "intel-scenes", test=Split(12, 2))
    counts = dict.fromkeys(DATA["intel-scenes"].classes, 2)
    parquet(copies, "intel-scenes", "test", counts | {"sea": 1})
    trial = find_protocol("cifar10-ood").trials()["a"]
    with pytest.raises(DataError, match="intel-scenes .* cannot be used: .*sea has 1 instead of 2"):
        load_trial(trial, copies)
    parquet(copies, "intel-scenes", "test", counts)
    assert list(load_trial(trial, copies).tests) == ["cifar100", "intel-scenes"]


def test_unknown_sets_that_cannot_be(copies):
    trial = find_protocol("cifar10-ood").trials()["a"]
    with pytest.raises(DataError, match="cifar10-ood/a has no unknown set 'cifar-100'; it has cifar100, svhn"):
        load_trial(trial, copies, unknown_sets=["cifar-100"])
    with pytest.raises(DataError, match="at least one unknown set: none was asked for"):
        load_trial(trial, copies, unknown_sets=[])
    (copies / "cifar100").rename(copies / "elsewhere")
    with pytest.raises(DataError, match="at least one unknown set: the unknown set cifar100 is left out"):
        load_trial(trial, copies)


def test_only_the_known_classes_need_training_images(copies, monkeypatch):
    trial = find_protocol("cifar10").trials("cssr")["a"]
    some = dict.fromkeys(trial.train.classes, 3)
    parquet(copies, "cifar10", "train", dict.fromkeys(CIFAR10, 0) | some, names=CIFAR10)
    assert len(load_trial(trial, copies).train) == 18
    with pytest.raises(DataError, match="automobile has 0 instead of 3"):
        load_trial(find_protocol("cifar10").trials("cssr")["b"], copies)
    # All are needed in the test, where they are unknown.
    parquet(copies, "cifar10", "test", dict.fromkeys(CIFAR10, 0) | dict.fromkeys(trial.train.classes, 2))
    with pytest.raises(DataError, match="4 of the 4 classes that are needed"):
        load_trial(trial, copies)


def test_images_that_may_be_more_than_are_listed(tmp_path, monkeypatch):
    """Two sets of unknown classes in one copy do not mix, and neither do classes of no list."""
    shrink(monkeypatch, "cifar10", train=1, test=1)
    shrink(monkeypatch, "imagenet-21k-p", val=1)
    listed = DATA["imagenet-21k-p"].classes
    parquet(tmp_path, "cifar10", "train", dict.fromkeys(CIFAR10, 1))
    parquet(tmp_path, "cifar10", "test", dict.fromkeys(CIFAR10, 1))
    parquet(tmp_path, "imagenet-21k-p", "val", {"n99999999": 7, listed[0]: 1, listed[1]: 1, listed[2]: 1})
    unknown = {
        "near": Part("imagenet-21k-p", "val", (listed[2], listed[0])),
        "far": Part("imagenet-21k-p", "val", (listed[1],)),
    }
    train = Part("cifar10", "train", CIFAR10)
    data = load_trial(Trial("p", "", "a", train, Part("cifar10", "test", CIFAR10), unknown, 32), tmp_path)
    assert greys(data.tests["near"])[10:] == [1, 3] and greys(data.tests["far"])[10:] == [2]


def test_digits_need_no_copies():
    trial = find_protocol("digits:prior=0.5").trials()["a"]
    data = load_trial(trial, None)
    assert len(data.train) == trial.train_images and data.train.classes == list("012345") and data.notes == ()
    test = data.tests["unknown"]
    assert len(test) == 450 and int((test.labels < 0).sum()) == trial.unknown["unknown"].images
    assert test.read_mask(0) is not None and test.name(449).startswith("digits:test[")


# --- real images


@pytest.mark.skipif(REAL is None, reason="BACKMIX_DATA is not set: no real images")
def test_real_cifar10():
    for trial in find_protocol("cifar10").trials("cssr").values():
        data = load_trial(trial, Path(REAL))
        assert count_per_class(data.train) == dict.fromkeys(trial.train.classes, 5000)
        test = data.tests["unknown"]
        assert count_per_class(test) == dict.fromkeys(trial.train.classes, 1000)
        assert len(test) == 10_000 and int((test.labels < 0).sum()) == 4000
        for i in range(0, 10_000, 997):
            label = int(test.labels[i])
            names = trial.unknown["unknown"].classes if label < 0 else [trial.train.classes[label]]
            assert any(f"/{name}/" in test.name(i) for name in names)


@pytest.mark.skipif(REAL is None, reason="BACKMIX_DATA is not set: no real images")
def test_real_tiny_imagenet():
    trials = find_protocol("tiny-imagenet").trials("cssr")
    for name in ("a", "b"):
        data = load_trial(trials[name], Path(REAL))
        assert count_per_class(data.train) == dict.fromkeys(trials[name].train.classes, 500)
        test = data.tests["unknown"]
        assert len(test) == 10_000 and int((test.labels < 0).sum()) == 9000
        assert set(count_per_class(test).values()) == {50}
    for name in ("c", "d", "e"):
        with pytest.raises(DataError, match="of the 20 classes that are needed have another number of images"):
            load_trial(trials[name], Path(REAL))


@pytest.mark.skipif(REAL is None, reason="BACKMIX_DATA is not set: no real images")
def test_real_images_of_other_data_sets():
    data = load_trial(find_protocol("cifar10-ood").trials()["a"], Path(REAL))
    sizes = {name: int((test.labels < 0).sum()) for name, test in data.tests.items()}
    at_hand = {"tiny-imagenet": 10_000, "dtd-part": 400, "intel-scenes": 300, "mnist": 10_000}
    assert at_hand.items() <= sizes.items()
    assert all(int((test.labels >= 0).sum()) == 10_000 for test in data.tests.values())
    assert len(data.notes) == 7 - len(sizes)


@pytest.mark.skipif(REAL is None, reason="BACKMIX_DATA is not set: no real images")
def test_real_mnist_has_no_images_to_train_on():
    with pytest.raises(DataError, match="mnist has no split 'train'; it has test"):
        load_trial(find_protocol("mnist").trials("neal")["a"], Path(REAL))
