import tomllib
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path

import pytest

from backmix.benchmark.class_names import canonical_names
from backmix.benchmark.splits import about, overlap, split_lists

WITHIN = {"mnist": 6, "svhn": 6, "cifar10": 6, "tiny-imagenet": 20}


@pytest.mark.parametrize("protocol", WITHIN)
def test_lists_within_one_data_set(protocol):
    lists = split_lists(protocol)
    assert list(lists) == ["arpl", "neal", "f1"] + ["cssr"] * (protocol != "mnist")
    for trials in lists.values():
        assert len(trials) == 5
        for known in trials:
            assert len(known) == len(set(known)) == WITHIN[protocol]
            assert 0 <= min(known) <= max(known) < len(canonical_names(protocol))
    assert all(known == sorted(known) for known in lists.get("cssr", []))
    assert all(about(name) for name in lists)


@pytest.mark.parametrize(("protocol", "number"), [("cifar+10", 10), ("cifar+50", 50)])
def test_lists_of_cifar_plus(protocol, number):
    vehicles = {"airplane", "automobile", "ship", "truck"}
    lists = split_lists(protocol)
    assert list(lists) == ["arpl", "neal", "f1"]
    for name, trials in lists.items():
        assert len(trials) == 5
        for trial in trials:
            assert len(set(trial["known"])) == 4 and len(trial["unknown"]) == len(set(trial["unknown"])) == number
            assert max(trial["unknown"]) < 100
            if name != "arpl":
                assert {canonical_names("cifar10")[number] for number in trial["known"]} == vehicles


@pytest.mark.parametrize(
    ("protocol", "sizes"),
    [("cub", (100, 32, 34, 34)), ("stanford-cars", (98, 76, 15, 7)), ("fgvc-aircraft", (50, 20, 17, 13))],
)
def test_semantic_shift_benchmark(protocol, sizes):
    lists = split_lists(protocol)
    parts = [lists[name] for name in ("known", "easy", "medium", "hard")]
    assert tuple(map(len, parts)) == sizes
    assert sorted(chain.from_iterable(parts)) == list(range(len(canonical_names(protocol))))


def test_imagenet_21k():
    known = set(canonical_names("imagenet-1k"))
    for release, hard in (("fall11", 1000), ("winter21", 980)):
        lists = split_lists("imagenet-1k")[release]
        assert len(set(lists["easy"])) == 1000 and len(set(lists["hard"])) == hard
        assert not {*lists["easy"]} & {*lists["hard"]} and not known & {*lists["easy"], *lists["hard"]}
    for which in ("easy", "hard"):
        assert set(lists[f"closest_1k_for_{which}"]) <= known


def test_overlaps_name_classes_that_exist():
    shown = overlap("cifar10", "tiny-imagenet")
    assert set(shown) < set(canonical_names("cifar10"))
    found = list(chain.from_iterable(shown.values()))
    assert len(found) == len(set(found)) and set(found) < set(canonical_names("tiny-imagenet"))
    assert overlap("cifar10", "svhn") == {} == overlap("mnist", "svhn")


def test_the_lists_travel_with_the_package():
    project = Path(__file__).parents[2]
    data = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["backmix"]
    stored = sorted(path.name for path in (project / "src/backmix/benchmark").glob("*.json"))
    assert {"class_names.json", "splits.json"} <= set(stored)
    assert all(any(fnmatch(f"benchmark/{name}", pattern) for pattern in data) for name in stored)
