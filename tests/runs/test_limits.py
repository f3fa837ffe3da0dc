"""Bounds on what a run from elsewhere may ask for."""

import time

import pytest
import torch
import yaml
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backmix.classifier import OpenSetClassifier
from backmix.errors import RunError
from backmix.runs.fetch import MAX_BYTES
from backmix.runs.limits import (
    SPARE_ELEMENTS,
    BuildLimit,
    read_classes,
    read_settings,
    read_text,
    without_weight_sources,
)

FLAT = "".join(f"k{level}: &k{level} [{', '.join([f'*k{level - 1}'] * 9) or 1}]\n" for level in range(1, 30))
BOMBS = {
    "aliases": "k0: &k0 [1]\n" + FLAT,
    "merges": "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60)),
    "itself": "a: &a [*a]\n",
    "deep": "[" * 2_000,
    "deep block": "".join(" " * depth + "a:\n" for depth in range(1000)),
    "digits": "format: " + "1" * 10_000,
    "twice": "format: 1\nformat: 1\n",
    "two documents": "format: 1\n---\nformat: 1\n",
    "directive": "%YAML 1.1\n---\nformat: 1\n",
    "tag of a number": "format: !!int ''",
    "tag of a truth": "format: !!bool maybe",
    "tag of a time": "format: !!timestamp x",
    "keys that do not sort": "1: a\nb: c\n",
    "a list as a key": "? [a, b]\n: 1\n",
    "python call": "format: !!python/object/apply:os.system ['touch trace']",
    "python name": "format: !!python/name:os.system",
    "python object": "format: !!python/object/new:type [x, !!python/tuple [], {}]",
    "own tag": "format: !x 1",
}


def settings(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    return read_settings(tmp_path / "config.yaml")


@pytest.mark.parametrize("bomb", BOMBS)
def test_yaml_that_nobody_wrote_in_good_faith(tmp_path, monkeypatch, bomb):
    monkeypatch.chdir(tmp_path)
    begin = time.perf_counter()
    with pytest.raises(RunError, match=r"config\.yaml is not readable YAML as backmix writes it: ") as caught:
        settings(tmp_path, BOMBS[bomb])
    assert time.perf_counter() - begin < 20 and len(str(caught.value)) < 1000 and "\n" not in str(caught.value)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("text", ["1" + ":59" * 20_000, "2024-99-99", "2024-01-01 00:00:00+99:99", "1_000", "yes", "="])
def test_what_only_yaml_1_1_takes_for_a_value_is_a_text(tmp_path, text):
    assert settings(tmp_path, f"format: {text}\n") == {"format": text}


@pytest.mark.parametrize("text", ["1e5", "0o17", "08", "1.5e3", "-.5", "1E-1", "+.5e1"])
def test_a_text_that_0_1_0_left_bare_is_still_a_text(tmp_path, text):
    content = {"format": 1, "data": text, text: [text, 1e-05, 1e16, -0.5, True, None]}
    old = yaml.safe_dump(content)
    assert f"data: {text}\n" in old
    assert settings(tmp_path, old) == content


def test_settings_as_they_are_written(tmp_path):
    content = {"format": 1, "text": "größer: *a &b", "list": [1, 0.5, None, True, [1, 2]], "more": {"a": {"b": "c"}}}
    assert settings(tmp_path, yaml.safe_dump(content, allow_unicode=True)) == content


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@examples(max_examples=50)
@given(plain)
@example({"\x85": "a\u2028b"})
@example("\udcff\ufeff")
def test_whatever_is_plain_comes_back(tmp_path_factory, content):
    from backmix.data.write_yaml import as_yaml

    path = tmp_path_factory.getbasetemp() / "config.yaml"
    path.write_text(as_yaml({"a": content, "b": content}), encoding="utf-8")
    assert read_settings(path) == {"a": content, "b": content}


@pytest.mark.parametrize("name", [*MAX_BYTES, "metrics.json", "seen.json", "fit.yaml"])
def test_a_file_of_the_largest_size_is_read_and_one_more_byte_is_not(tmp_path, name, monkeypatch):
    monkeypatch.setattr("backmix.runs.limits.MAX_TEXT", 2**20)
    if name in MAX_BYTES:
        monkeypatch.setitem(MAX_BYTES, name, 2**20)
    path = tmp_path / name
    path.write_bytes(b"a" * 2**20)
    assert read_text(path) == "a" * 2**20
    path.write_bytes(b"a" * (2**20 + 1))
    with pytest.raises(RunError, match=f"{name} is larger than 1 MiB, so backmix did not write it"):
        read_text(path)


def test_a_file_without_end_is_not_read_to_its_end(tmp_path):
    (tmp_path / "classes.json").symlink_to("/dev/zero")
    with pytest.raises(RunError, match="larger than"):
        read_text(tmp_path / "classes.json")


@pytest.mark.parametrize("text", ["{}", '"ab"', "[1, 2]", '["a", null]', '[["a"], ["b"]]', "3", "[", "[" * 10**5])
def test_classes_that_are_no_names(tmp_path, text):
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises((ValueError, RecursionError)):
        read_classes(tmp_path / "classes.json")


def test_a_million_equal_names_are_refused_at_once(tmp_path):
    (tmp_path / "classes.json").write_text("[" + ",".join(['"a"'] * 10**6) + "]")
    begin = time.perf_counter()
    with pytest.raises(ValueError, match="names a class twice"):
        read_classes(tmp_path / "classes.json")
    assert time.perf_counter() - begin < 20


def test_options_that_open_files_are_dropped_and_others_stay():
    options = {
        "checkpoint_path": "a",
        "cache_dir": "b",
        "pretrained": True,
        "pretrained_cfg": {},
        "drop_path_rate": 0.1,
    }
    assert without_weight_sources(options) == {"drop_path_rate": 0.1}


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nn.Linear(2**20, 2**20),
        lambda: [torch.empty(2**26) for _ in range(100)],
        lambda: [torch.nn.BatchNorm2d(1) for _ in range(100_000)],
        lambda: torch.zeros(2**17, 2**17),
        lambda: torch.ones(2**40),
        lambda: torch.full((2**40,), 1.0),
        lambda: torch.rand(2**20, 2**20),
        lambda: torch.randn(2**40),
        lambda: torch.normal(0.0, 1.0, (2**40,)),
        lambda: torch.arange(2**40),
        lambda: torch.arange(0, 2**20, 1e-9),
        lambda: torch.linspace(0, 1, 2**40),
        lambda: torch.zeros(1).new_zeros(2**40),
        lambda: torch.zeros(2**20, 1) - torch.zeros(1, 2**20),
    ],
)
def test_what_is_far_larger_than_the_weights_is_refused_before_it_is_made(make):
    begin = time.perf_counter()
    with pytest.raises(ValueError, match="a network far larger than the weights"), BuildLimit({"a": torch.zeros(10)}):
        make()
    assert time.perf_counter() - begin < 20


def test_the_limit_grows_with_the_weights_and_ends_with_the_block():
    limit = BuildLimit({"a": torch.zeros(1000), "b": torch.zeros(24)})
    assert limit.elements == SPARE_ELEMENTS + 8 * 1024
    with limit:
        torch.zeros(500)
        torch.nn.Linear(10, 10)
    assert limit.elements == SPARE_ELEMENTS + 8 * 1024 - 500 - 110
    assert torch.arange(10).sum() == 45


@pytest.mark.parametrize(("model", "size"), [("compact", 32), ("wrn-40-4", 32), ("vgg32", 32), ("resnet10t", 64)])
def test_a_network_is_the_same_under_the_limit(model, size):
    plainly = OpenSetClassifier(["a", "b"], model=model, image_size=size).network.state_dict()
    with BuildLimit(plainly):
        limited = OpenSetClassifier(["a", "b"], model=model, image_size=size).network.state_dict()
    assert all(torch.equal(plainly[name], limited[name]) for name in plainly)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("vgg16", 64),
        ("swin_tiny_patch4_window7_224", 224),
        ("vit_small_patch14_dinov2", 224),
        ("maxvit_tiny_tf_224", 224),
    ],
)
def test_networks_of_timm_are_well_within_the_limit(model, size):
    weights = OpenSetClassifier(["a", "b"], model=model, image_size=size).network.state_dict()
    with BuildLimit(weights) as limit:
        OpenSetClassifier(["a", "b"], model=model, image_size=size)
    assert limit.elements > SPARE_ELEMENTS / 2 and limit.tensors > 5000
