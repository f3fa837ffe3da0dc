"""Options, counts, versions and commands."""

import dataclasses
import shlex
from pathlib import Path

import pytest
import yaml
from report_answers import answers, thresholds

from backmix.report.run_facts import RunFacts, read_facts
from backmix.report.settings import Asked, commands, data_counts, fit_command, option_groups, versions
from backmix.report.tested import Thresholds
from backmix.runs.folder import load_run
from backmix.version import __version__


@pytest.fixture(scope="module")
def facts(trained):
    return read_facts(trained)


@pytest.fixture(scope="module")
def classifier(trained):
    return load_run(trained)


def test_every_option_is_told(facts, classifier):
    groups = option_groups(facts, classifier, Thresholds.of(classifier))
    told = {group.title: {name: value for name, value, _ in group.rows} for group in groups}
    assert set(told["What backmix fit was asked for"]) == set(facts.arguments)
    assert set(told["How it trained"]) == set(facts.training)
    assert told["How it trained"]["epochs"] == "6" and told["Network"]["classes"] == "3"
    assert told["Decision"]["accept"] == "0.95" and told["Decision"]["threshold of each class"] == "no"
    more = dataclasses.replace(facts, calibration={**facts.calibration, "chosen": {"detector": "msp", "images": 3}})
    decision = option_groups(more, classifier, Thresholds.of(classifier))[-1]
    assert ("chosen", "detector: msp, images: 3", "") in decision.rows


def test_counts(facts, classifier):
    rows = dict(data_counts(facts, classifier, answers([("cat", "cat", True, 0), ("cow", "cat", True, 0)])))
    assert rows["trained on"] == str(facts.metrics["images"]["train"]) and rows["known classes"] == "3"
    assert rows["tested, of known classes"] == "1" and rows["tested, unknown"] == "1"
    empty = dataclasses.replace(facts, metrics={"seconds": 7500})
    rows = dict(data_counts(empty, classifier, None))
    assert rows["trained on"] == "not told by the run" and rows["time of the training"] == "2 h 5 min"


def test_versions(facts):
    assert dict(versions(facts))["backmix, report"] == __version__ and "torch" in dict(versions(facts))


def test_a_run_with_a_recipe_is_repeated_by_it(facts):
    asked = Asked(data="my photos", split="test", unknown="others")
    fit, calibrate, report = (words for words, _ in commands(facts, thresholds(), asked))
    assert shlex.split(" ".join(fit)) == ["backmix", "fit", "--config", str(facts.folder / "fit.yaml"), "--out", "NEW"]
    assert calibrate == ["backmix", "calibrate", "NEW", "--accept", "0.95"]
    assert shlex.split(" ".join(report)) == [
        "backmix", "report", "NEW", "--data", "my photos", "--split", "test", "--unknown", "others"
    ]  # fmt: skip
    by_class = commands(facts, thresholds(by_class=[None]), Asked())[1][0]
    assert by_class[-1] == "--per-class"


def test_the_commands_are_ones_that_the_program_takes(facts, tmp_path):
    import typer
    from typer.testing import CliRunner

    from backmix.cli import app

    without = dataclasses.replace(facts, recipe=None)
    for words, _ in [
        *commands(facts, thresholds(by_class=[None]), Asked("d", "s", "u", "v")),
        *commands(without, thresholds(), Asked()),
    ]:
        typed = shlex.split(" ".join(words))[1:]
        typed = [str(tmp_path / "NEW") if word == "NEW" else word for word in typed]
        # Told to show its help, the program reads no file and still refuses options that it does not have.
        done = CliRunner().invoke(app, [typed[0], *typed[1:], "--help"])
        command = typer.main.get_command(app).commands[typed[0]]
        known = {flag for option in command.params for flag in [*option.opts, *option.secondary_opts]}
        assert done.exit_code == 0 and {word for word in typed if word.startswith("--")} <= known


def test_an_older_run_is_repeated_as_it_was_asked_for():
    arguments = yaml.safe_load(
        "{data: my photos, known_classes: 'a,b', image_size: null, pretrained: true, method_options: {bias: false},"
        " augmentation_options: {foreground: clean}, seed: 3, near_duplicates: false}"
    )
    assert fit_command(arguments) == [
        "backmix", "fit", "my photos", "--known-classes", "a,b", "--pretrained", "--method-option", "bias=False",
        "--augmentation-option", "foreground=clean", "--seed", "3", "--no-near-duplicates"
    ]  # fmt: skip


def test_hostile_words_stay_in_one_line():
    facts = RunFacts(Path("run\n; rm -rf ~"), {"arguments": {"data": "a'b\n\u202e"}}, {}, None, {}, None)
    for words, _ in commands(facts, thresholds(), Asked()):
        assert all(len(word.splitlines()) == 1 and "\u202e" not in word for word in words)
