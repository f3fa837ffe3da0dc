import hashlib
import json
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest

from backmix.benchmark.named_data import DATA
from backmix.benchmark.trial import Trial
from backmix.benchmark.trial import TrialPart as Part
from backmix.errors import DataError

CIFAR10 = DATA["cifar10"].classes


def make(known=CIFAR10[:6], unknown=CIFAR10[6:], **changes):
    parts = {"unknown": Part("cifar10", "test", tuple(unknown))}
    train, test = Part("cifar10", "train", tuple(known)), Part("cifar10", "test", tuple(known))
    return replace(Trial("cifar10", "own", "a", train, test, parts, 32), **changes)


def test_fingerprint_by_hand():
    known, unknown = sorted(CIFAR10[:6]), sorted(CIFAR10[6:])
    content = {
        "known": ["cifar10", "test", known],
        "train": ["cifar10", "train", known],
        "unknown unknown": ["cifar10", "test", unknown],
    }
    digest = hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
    assert make().fingerprint == digest[:12]


def test_neither_order_nor_names_change_the_fingerprint():
    assert make().fingerprint == make(CIFAR10[5::-1], CIFAR10[:5:-1]).fingerprint
    assert make() == make() and make() != make(CIFAR10[5::-1])
    assert make().fingerprint == make(name="b", split_list="other", protocol="mine", notes=("x",)).fingerprint
    assert make().fingerprint != make(CIFAR10[:5]).fingerprint
    assert make().fingerprint != make(unknown=CIFAR10[6:9]).fingerprint
    other_set = {"near": Part("cifar10", "test", CIFAR10[6:])}
    other_data = {"unknown": Part("cifar100", "test", ("bus",))}
    for trial in (replace(make(), unknown=other_set), replace(make(), unknown=other_data)):
        assert trial.fingerprint != make().fingerprint


def test_openness_counts_the_unknown_classes_of_all_sets_once():
    def of(known, **unknown):
        train = Part("cifar100", "train", DATA["cifar100"].classes[:known])
        return Trial("p", "", "a", train, replace(train, split="test"), unknown, 32)

    rest = DATA["cifar100"].classes[4:]
    one = of(4, a=Part("cifar100", "test", rest[:10]))
    assert one.openness == pytest.approx(1 - (8 / 18) ** 0.5)
    assert one.revised_openness == pytest.approx(1 - (4 / 14) ** 0.5)
    two = of(4, a=Part("cifar100", "test", rest[:6]), b=Part("cifar100", "test", rest[2:10]))
    assert two.openness == one.openness
    other = of(4, a=Part("cifar100", "test", rest[:5]), b=Part("dtd", "test", DATA["dtd"].classes[:5]))
    assert other.openness == one.openness
    pooled = of(4, a=Part("inaturalist-ood", "test", DATA["inaturalist-ood"].classes))
    assert pooled.revised_openness == pytest.approx(1 - (4 / 114) ** 0.5)


def test_a_trial_travels_and_does_not_change():
    trial = make()
    assert pickle.loads(pickle.dumps(trial)) == trial
    assert trial.title == "cifar10/own/a" and make(split_list="").title == "cifar10/a"
    assert trial.train_images == trial.train.images == 30_000 and trial.unknown["unknown"].images == 4000
    with pytest.raises(FrozenInstanceError):
        trial.name = "b"


def test_classes_that_cannot_be_a_trial():
    with pytest.raises(DataError, match="known and in 'unknown' too: dog"):
        make(unknown=["dog", *CIFAR10[6:]])
    with pytest.raises(DataError, match="other classes in its test than in training"):
        make(known=CIFAR10[:6], train=Part("cifar10", "train", CIFAR10[:5]))
    with pytest.raises(DataError, match="other classes in its test than in training"):
        make(train=Part("svhn", "train", CIFAR10[:6]))
    for classes in ((), ("cat", "cat")):
        with pytest.raises(DataError, match="different classes, at least one"):
            Part("cifar10", "test", classes)
