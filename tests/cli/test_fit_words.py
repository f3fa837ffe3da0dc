"""What fit says, and the file that repeats a training."""

import pytest
import torch
import yaml
from command_folders import colour, small

from backmix.classifier import OpenSetClassifier
from backmix.cli.fit_command import fit_command
from backmix.cli.fit_words import accepted_in_words, result_in_words
from backmix.threshold.conformal import ConformalThreshold


@pytest.fixture
def classifier():
    made = OpenSetClassifier(["a", "b"], model="compact-s", model_options={"width": 0.25})
    made.thresholds = {"max_logit": ConformalThreshold.fit(torch.arange(200.0))}
    return made


def test_acceptance_in_words(classifier):
    assert accepted_in_words(0.93, 100, classifier) == (
        "93.0 %, promised 95.0 % (89.0 % to 99.0 % by chance: as it should be)"
    )
    assert "more than chance explains" in accepted_in_words(0.80, 100, classifier)
    assert "as it should be" in accepted_in_words(0.75, 4, classifier)
    assert "more than chance explains" in accepted_in_words(1.0, 1000, classifier)
    classifier.per_class = True
    assert "as it should be" in accepted_in_words(1.0, 1000, classifier)
    classifier.thresholds = {"max_logit": ConformalThreshold.fit(torch.arange(9.0))}
    assert accepted_in_words(1.0, 50, classifier) == "100.0 %, as everything else: too few images are held out"


def test_a_test_in_words(classifier):
    figures = {"accepted_known": 0.95, "rejected_unknown": 0.5, "auroc": 0.875}
    test = {
        "accuracy": 0.9,
        "images": {"known": 40, "unknown": 8},
        "detectors": {"max_logit": figures},
    }
    known, unknown = result_in_words(test, classifier)
    assert known.startswith("test on 40 other images of known classes: 90.0 % answered right when none is rejected; ")
    assert unknown == '8 images of classes it does not know: 50.0 % called "unknown", AUROC 87.5 %'
    assert len(result_in_words({**test, "images": {"known": 40, "unknown": 0}}, classifier)) == 1
    assert result_in_words(None, classifier) == []


def test_the_file_repeats_the_training(pictures, tmp_path, monkeypatch):
    import sys

    from backmix import cli

    arguments = small(pictures, known_classes="red,blue", augmentation="swap", augmentation_options={"donor": "other"})
    fit_command(arguments, tmp_path / "one")
    written = yaml.safe_load((tmp_path / "one" / "fit.yaml").read_text())
    assert written["data"] == str(pictures) and written["augmentation-option"] == {"donor": "other"}
    assert written["model"] == "compact-s" and written["epochs"] == 1 and written["precision"] in ("fp32", "bf16")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["backmix", "fit", "--config", str(tmp_path / "one" / "fit.yaml"), "--out", str(tmp_path / "two")]
    )
    try:
        cli.main()
    except SystemExit as stop:
        assert not stop.code
    for name in ("model.safetensors", "calibration.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert written["known-classes"] == ["blue", "red"]
    # Once more from its own file: nothing is added or lost.
    assert (tmp_path / "two" / "fit.yaml").read_text() == (tmp_path / "one" / "fit.yaml").read_text()


def test_the_file_repeats_a_training_on_classes_with_commas(tmp_path, monkeypatch):
    """The names of ImageNet's classes hold commas, as in "tench, Tinca tinca"."""
    import sys

    from backmix import cli

    names = ["tench, Tinca tinca", "back\\slash", " blank ", "plain"]
    for number, name in enumerate(names):
        for image in range(6):
            colour(tmp_path / "data" / name / f"{image}.png", (60 * number, 200 - 40 * number, 30 * image))
    fit_command(small(tmp_path / "data", known_classes=names[:3]), tmp_path / "one")
    written = yaml.safe_load((tmp_path / "one" / "fit.yaml").read_text())
    assert sorted(written["known-classes"]) == sorted(names[:3])

    def typed(*words):
        monkeypatch.setattr(sys, "argv", ["backmix", "fit", *map(str, words)])
        try:
            cli.main()
        except SystemExit as stop:
            assert not stop.code

    typed("--config", tmp_path / "one" / "fit.yaml", "--out", tmp_path / "two")
    shared = [
        word for name, of in written.items() if name not in ("data", "known-classes") for word in _words(name, of)
    ]
    in_one = ["--known-classes", "tench\\, Tinca tinca,back\\\\slash,\\ blank\\ "]
    one_by_one = [word for name in names[:3] for word in ("--known-classes", name)]
    for run, chosen in (("three", in_one), ("four", one_by_one)):
        typed(tmp_path / "data", *shared, *chosen, "--out", tmp_path / run)
    for run in ("two", "three", "four"):
        for name in ("model.safetensors", "classes.json", "fit.yaml"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / run / name).read_bytes()


def _words(name, value):
    return ["--" + ("" if value else "no-") + name] if isinstance(value, bool) else ["--" + name, str(value)]
