"""Options as KEY=VALUE, typed or in a file, whatever YAML makes of the value."""

import os
import threading

import pytest
import typer
import yaml
from typer.testing import CliRunner

from backmix.cli import app
from backmix.cli import fit_command as module
from backmix.cli.options import read_options
from backmix.data.write_yaml import as_yaml


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Call `backmix fit` with a configuration, and return the arguments that reach the training."""

    def call(content, *words):
        seen = []
        monkeypatch.setattr(module, "fit_command", lambda arguments, out, **_: seen.append(arguments))
        (tmp_path / "c.yaml").write_text(content)
        command = ["fit", "digits", "--out", str(tmp_path / "run"), "--config", str(tmp_path / "c.yaml"), *words]
        found = CliRunner().invoke(app, command)
        assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
        return seen[0] if seen else found.output

    return call


def test_values_are_read_as_yaml():
    given = ["a=1", "b=1e-1", "c=[1, 2]", "d=", "long-name=true", "e=x=y"]
    assert read_options(given) == {"a": 1, "b": 0.1, "c": [1, 2], "d": None, "long_name": True, "e": "x=y"}
    assert read_options(["a=no", "b=1_000", "c='1e5'"]) == {"a": "no", "b": "1_000", "c": "1e5"}
    assert read_options(None) == {}


@pytest.mark.parametrize(
    "pair", ["a=[1", "a={b: [}", "a='", 'a="x', "a=!!python/object:os.system x", "a=*b", "=1", "a"]
)
def test_what_is_no_value_is_one_sentence(pair):
    with pytest.raises(typer.BadParameter) as caught:
        read_options([pair])
    assert "\n" not in str(caught.value) and pair in str(caught.value)


def test_options_of_a_file_arrive_whole(asked):
    cells = [number / 100 for number in range(40)]
    content = yaml.safe_dump({"augmentation-option": {"cells": cells, "probability": 0.5, "name": None}})
    assert asked(content).augmentation_options == {"cells": cells, "probability": 0.5, "name": None}
    assert asked("augmentation-option: {momentum: 1e-1}").augmentation_options == {"momentum": 0.1}
    texts = {"a": "1e5", "b": "x\ny", "c": "no", "d": "\x85: #"}
    assert asked(as_yaml({"method-option": texts})).method_options == texts
    assert asked("augmentation-option: momentum=0.2").augmentation_options == {"momentum": 0.2}
    assert asked("method-option: [weight=1, gamma=2]").method_options == {"weight": 1, "gamma": 2}
    assert asked("lr: 1e-1\npatch-side: 5e-1").lr == 0.1
    typed = asked("augmentation-option: {momentum: 0.1}", "--augmentation-option", "grid=4")
    assert typed.augmentation_options == {"grid": 4}


@pytest.mark.parametrize(
    ("content", "named"), [("epochs: [1, 2]", "epochs"), ("lr: {a: 1}", "lr"), ("model: [compact]", "model")]
)
def test_a_list_where_one_value_belongs_is_named(asked, content, named):
    said = " ".join(asked(content).replace("│", " ").split())
    assert f"{named} in " in said and "is to be one value" in said and content.partition(": ")[2] in said


def test_a_single_value_of_a_file_is_what_it_would_be_if_it_were_typed(asked):
    names = ["08", "1e5", "no", "~", "a,b"]
    typed = asked("seed: 0", *(word for name in names for word in ("--known-classes", name)))
    assert asked("known-classes: [08, 1e5, no, ~, 'a,b']").known_classes == typed.known_classes
    assert asked("outliers: 007").outliers == "007" and asked("outliers: ~").outliers is None
    assert asked("balance: yes").balance is True and asked("balance: false").balance is False
    assert asked("epochs: 20\nseed: 1_000").seed == 1000
    for wrong in ("epochs: 20.5", "epochs: true"):
        assert "'--epochs'" in asked(wrong)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("epochs: 1\nepochs: 2\n", "line 2: found the key 'epochs' twice, first in line 1"),
        ("epochs: &a 1\n", "line 1: found '&a', an anchor"),
        ("1: 2\n", "line 1: found the key '1', which is read as a number"),
        ("- a\n" * 50_001, "line 50000: found more than 50,000 values"),
        ("a" * (2**20 + 1), "found more than 1,024 KiB"),
        ("- a\n", "holds no options"),
        ("patch-side: 1\npatch_side: 2\n", "has patch_side twice, also with hyphens"),
        ("".join(f"k{key}: 1\n" for key in range(99)), "k16, k17 and 89 more; fit has no such option"),
    ],
)
def test_a_file_that_is_refused_is_named_with_its_line(asked, content, said):
    found = " ".join(asked(content).replace("│", " ").split())
    assert "c.yaml" in found.replace(" ", "") and said in found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_file_may_be_a_pipe(asked, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("seed: 7\nmethod: arpl\n",))
    writer.start()
    found = asked("seed: 0", "--config", str(tmp_path / "pipe"))
    writer.join()
    assert (found.seed, found.method) == (7, "arpl")


@pytest.mark.parametrize("content", ["augmentation-option: momentum", "epochs: many", "epochs: [1, 2]", "lr: {a: 1}"])
def test_what_a_file_cannot_mean_is_said(asked, content):
    said = asked(content)
    assert isinstance(said, str) and "Traceback" not in said and said.strip()
