"""calibration.json: replaced in one step, bound to its run, and refused if its parts contradict one another."""

import json
import shutil

import pytest
import signed_run
import torch

from backmix.classifier import OpenSetClassifier
from backmix.cli.calibrate_command import calibrate_command
from backmix.errors import RunError
from backmix.runs import calibration
from backmix.runs.calibration import NAME, chosen_before, fingerprint_of_run
from backmix.runs.folder import fingerprint, load_run, read_config, save_calibration


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def refused(folder, message):
    with pytest.raises(RunError, match=message):
        load_run(folder)


def forge(folder, **changes):
    """Content as somebody wants it, signed in config.yaml as a run of an earlier version is."""
    content = json.loads((folder / NAME).read_text())
    content = {name: value for name, value in {**content, **changes}.items() if value is not ...}
    (folder / NAME).write_text(json.dumps(content))
    config = read_config(folder)
    signed_run.sign(folder, config, [name for name in config["files"] if name != "config.yaml"])
    return folder


def test_a_new_calibration_changes_one_file(copy):
    before = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}
    known = fingerprint(copy)
    classifier = load_run(copy)
    classifier.set_accept(0.8)
    save_calibration(classifier, copy, extra={"chosen": {"by": "hand"}})
    after = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file()}
    assert {name for name in after if after[name] != before.get(name)} == {NAME} and set(after) == set(before)
    again = load_run(copy)
    assert again.accept == 0.8 and fingerprint(copy) != known
    assert again.thresholds["max_logit"].to_dict() == classifier.thresholds["max_logit"].to_dict()
    assert json.loads(after[NAME])["chosen"] == {"by": "hand"}


def test_killed_at_any_moment_the_run_is_as_before_or_as_after(copy, monkeypatch):
    """The file is renamed at once. Before that moment the old run is there, and after it the new one."""
    import os

    classifier = load_run(copy)
    classifier.set_accept(0.8)
    rename = os.replace
    for stop_before in (True, False):

        def replace(source, target, stop_before=stop_before):
            if not stop_before:
                rename(source, target)
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            save_calibration(classifier, copy)
        monkeypatch.setattr(os, "replace", rename)
        assert load_run(copy).accept == (0.95 if stop_before else 0.8)


@pytest.mark.parametrize("damage", ["altered", "truncated", "unsigned", "another run"])
def test_a_calibration_that_was_touched_is_refused(copy, damage):
    classifier = load_run(copy)
    classifier.set_accept(0.8)
    save_calibration(classifier, copy)
    content = json.loads((copy / NAME).read_text())
    if damage == "truncated":
        (copy / NAME).write_bytes((copy / NAME).read_bytes()[:-9])
    else:
        if damage == "altered":
            content["accept"] = 0.9
        elif damage == "unsigned":
            del content["sha256"]
        else:
            content["run"] = "0" * 64
            del content["sha256"]
            content["sha256"] = calibration._digest(content)
        (copy / NAME).write_text(json.dumps(content))
    message = "belongs to another run" if damage == "another run" else "is not the file this run was saved with"
    refused(copy, message + ".*backmix calibrate")
    calibrate_command(copy)
    load_run(copy)


def test_the_calibration_of_another_run_is_refused(copy, tmp_path):
    other = load_run(copy)
    with torch.no_grad():
        next(other.network.parameters()).add_(1)
    other.set_accept(0.8)
    OpenSetClassifier.save(other, tmp_path / "other")
    shutil.copy(tmp_path / "other" / NAME, copy / NAME)
    refused(copy, "belongs to another run")


def test_a_calibration_of_an_earlier_version_is_read(copy):
    load_run(forge(copy, run=..., sha256=...))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": "msp", "accept": 0.95, "thresholds": {}}, None),
        ({"accept": 0.9}, "says to accept 0.9 of the known images, and a threshold of it accepts 0.95"),
        ({"accept": 1.5}, "calibration.json: Expected `float` < 1"),
        ({"per_class": "yes"}, "calibration.json: Expected `bool`"),
        ({"per_class": True, "class_thresholds": []}, "calibration.json has none of a class"),
        ({"class_thresholds": [None]}, "there are 3 classes and 1 thresholds for them"),
        ({"thresholds": ...}, "missing required field `thresholds`"),
    ],
    ids=str,
)
def test_parts_that_contradict_one_another_are_named(copy, changes, message):
    forge(copy, **changes)
    if message is None:
        assert load_run(copy).thresholds == {}
    else:
        refused(copy, message)


def test_the_score_that_decides_needs_a_threshold(copy):
    thresholds = json.loads((copy / NAME).read_text())["thresholds"]
    del thresholds["max_logit"]
    refused(
        forge(copy, thresholds=thresholds),
        "max_logit decides, and calibration.json has thresholds for .* alone.*calibrate",
    )


def test_what_was_chosen_before_survives_damage(copy):
    assert chosen_before(copy).detector == "max_logit"
    for damaged in ("", "[]", "{}", "[" * 10**5, '{"detector": 3, "accept": 0.9}', '{"detector": "msp", "accept": 7}'):
        (copy / NAME).write_text(damaged)
        found = chosen_before(copy)
        assert (found.detector, found.accept, found.thresholds) == (None, 0.95, {})


def test_a_share_that_the_thresholds_do_not_accept_is_not_saved(copy, tmp_path):
    classifier = OpenSetClassifier.load(copy)
    classifier.accept = 0.5
    with pytest.raises(ValueError, match="accept is 0.5, and the thresholds accept 0.95: call set_accept"):
        classifier.save(tmp_path / "other")
    classifier.set_accept(0.5)
    classifier.save(tmp_path / "other")
    assert load_run(tmp_path / "other").accept == 0.5


def test_the_fingerprint_of_a_run_leaves_its_calibration_out():
    files = {"model.safetensors": "a", "classes.json": "b"}
    assert fingerprint_of_run(files) == fingerprint_of_run({**files, NAME: "c", "config.yaml": "d"})
    assert fingerprint_of_run(files) != fingerprint_of_run({**files, "classes.json": "c"})
