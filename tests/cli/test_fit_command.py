"""`backmix fit` on small folders: what it leaves and prints."""

import json
from dataclasses import replace

import pytest
import torch
from command_folders import colour, small

from backmix.classifier import OpenSetClassifier
from backmix.cli.fit_command import fit_command
from backmix.errors import BackmixError, RunError
from backmix.mixing import BackMix
from backmix.runs.folder import read_config


def test_a_run_is_a_folder_with_everything_in_it(trained):
    names = {entry.name for entry in trained.iterdir()}
    assert names == {
        *("config.yaml", "model.safetensors", "classes.json", "calibration.json", "metrics.json"),
        *("training.safetensors", "checkpoint.pt", "logs", "held-out.json", "seen.json", "fit.yaml", "images.json"),
    }
    assert any(file.name.startswith("events.out.tfevents") for file in trained.rglob("*"))
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["held_out_accuracy"] > 0.9 and metrics["unreadable"] == [] and metrics["seconds"] > 0
    # 40 images of each of three known classes, the grey ones left out.
    assert metrics["images"]["train"] + metrics["images"]["held_out"] == 120
    assert [entry["epoch"] for entry in metrics["history"]] == list(range(6))
    assert metrics["history"][-1]["loss"] < metrics["history"][0]["loss"]


def test_what_fit_says(pictures, tmp_path, capsys):
    fit_command(small(pictures, known_classes="red, blue", augmentation="backmix"), tmp_path / "run")
    said = capsys.readouterr().out
    assert "images of 2 known classes to train on" in said and "held out for calibration" in said
    assert "compact-s at 32 px, softmax, augmentation backmix, 1 epochs of batch 8" in said
    assert "epoch 1: loss" in said and f"written to {tmp_path / 'run'}" in said


def test_a_detector_whose_statistics_cannot_hold_is_said(pictures, tmp_path, capsys):
    pytest.importorskip("pytorch_ood")
    fit_command(small(pictures, known_classes="red, blue", detector="mahalanobis"), tmp_path / "run")
    assert "too few for the inverse of a covariance" in " ".join(capsys.readouterr().out.split())


def test_outliers_of_classes_that_a_test_calls_unknown(pictures, tmp_path, capsys):
    """pictures holds red, green, blue and grey; ours has classes of two other names, one of them in the test alone."""
    note = "which DATA has too: a test that calls these unknown is no test"
    ours = tmp_path / "ours"
    for split, names in (("train", "ab"), ("test", ("a", "b", "grey"))):
        for name in names:
            for number in range(4):
                colour(ours / split / name / f"{number}.png", (40 * number, 90, 200 * (name == "a")))

    def said(data, method="outlier-exposure", **options):
        run = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        fit_command(small(data, method=method, outliers=str(pictures), **options), run)
        return capsys.readouterr().out

    assert f"outliers show blue, grey, {note}" in said(pictures, known_classes="red,green")
    assert f"outliers show grey, {note}" in said(ours)
    # Nothing to say of outliers that are not looked at, or are of classes that DATA does not have.
    assert note not in said(pictures, known_classes="red,green", method="softmax")
    colour(ours / "test" / "white" / "0.png", (255, 255, 255))
    for file in (ours / "test" / "grey").iterdir():
        file.unlink()
    assert note not in said(ours)


def test_swap_is_a_name_that_is_recorded_and_resumed(pictures, tmp_path):
    run = tmp_path / "run"
    arguments = small(
        pictures,
        known_classes="red,blue",
        augmentation="swap",
        augmentation_options={"swap.foreground": "centre", "foreground_share": 0.5},
    )
    report = fit_command(arguments, run)
    assert report.augmentation.how == "swap" and report.augmentation.foreground == "centre"
    recorded = read_config(run)["arguments"]
    assert recorded["augmentation"] == "swap" and recorded["augmentation_options"]["swap.foreground"] == "centre"
    assert fit_command(arguments, run, resume=True).history == report.history
    with pytest.raises(RunError, match="augmentation: 'swap' -> 'backmix'"):
        fit_command(replace(arguments, augmentation="backmix"), run, resume=True)


def test_resume_of_nothing_begins_and_can_be_resumed(pictures, tmp_path):
    run = tmp_path / "run"
    arguments = small(pictures, known_classes="red,blue", epochs=2)
    report = fit_command(arguments, run, resume=True)
    assert len(report.history) == 2
    kept = (run / "model.safetensors").read_bytes()
    assert fit_command(arguments, run, resume=True).history == report.history
    assert (run / "model.safetensors").read_bytes() == kept


def test_a_training_cut_off_in_its_first_epoch_knows_its_options(pictures, tmp_path, monkeypatch):
    import backmix.fit.session

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(backmix.fit.session, "fit", stop)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit_command(small(pictures, known_classes="red,blue"), run, resume=True)
    monkeypatch.undo()
    with pytest.raises(RunError, match="did not finish"):
        OpenSetClassifier.load(run)
    with pytest.raises(RunError, match="seed: 0 -> 1"):
        fit_command(small(pictures, known_classes="red,blue", seed=1), run, resume=True)
    with pytest.raises(RunError, match="not empty"):
        fit_command(small(pictures, known_classes="red,blue"), run)
    fit_command(small(pictures, known_classes="red,blue"), run, resume=True)
    assert OpenSetClassifier.load(run).classes == ["blue", "red"]


def test_options_of_backmix_are_as_asked_for(pictures, tmp_path):
    report = fit_command(
        small(pictures, known_classes="red,blue", augmentation="backmix", patch_side=0.5), tmp_path / "run"
    )
    assert isinstance(report.augmentation, BackMix) and report.augmentation.patch_side == 0.5
    kept = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert torch.equal(kept["augmentation"]["parts.0.bank.maps"], report.augmentation.bank.maps)


def test_a_network_whose_map_has_one_cell_is_refused_before_training(pictures, tmp_path, monkeypatch):
    import backmix.fit.training

    def train(*_, **__):
        raise AssertionError("a step was trained")

    run = tmp_path / "new" / "run"
    asked = small(pictures, known_classes="red,blue", model="resnet10t", augmentation="backmix", pretrained=False)
    monkeypatch.setattr(backmix.fit.training, "train", train)
    learns = {"method": "outlier-exposure", "outliers": "backgrounds", "augmentation": "none"}
    for options in ({}, {"augmentation_options": {"foreground": "clean"}}, {"augmentation": "swap"}, learns):
        with pytest.raises(ValueError, match=r"map of resnet10t has one cell for images of 32 px.*saliency"):
            fit_command(replace(asked, **options), run)
        assert not run.parent.exists()
    monkeypatch.undo()
    # What the message names helps.
    assert fit_command(replace(asked, image_size=64), run).history[0].mixed is not None
    centre = fit_command(replace(asked, augmentation_options={"foreground": "centre"}), tmp_path / "centre")
    assert centre.history[0].mixed > 0.5


def test_the_share_of_mixed_images_is_told(pictures, tmp_path, capsys):
    run = tmp_path / "run"
    report = fit_command(small(pictures, known_classes="red,blue", augmentation="backmix", epochs=3), run)
    shares = [entry["mixed"] for entry in json.loads((run / "metrics.json").read_text())["history"]]
    assert shares == [entry.mixed for entry in report.history] and shares[0] < 0.5 < shares[2] <= 1
    assert f"{shares[2]:.0%} of the images mixed" in capsys.readouterr().out
    plain = fit_command(small(pictures, known_classes="red,blue"), tmp_path / "plain")
    assert plain.history[0].mixed is None


REFUSED = [
    {"augmentation": "backmxi"},
    {"augmentation": "backmix", "augmentation_options": {"fill": "gray"}},
    {"method": "outlier-exposure"},
    {"method": "arpl", "method_options": {"wieght": 1}},
    {"detector": "enrgy"},
    {"model": "resnet"},
    {"epochs": 0},
    {"batch_size": 1},
    {"lr": -1.0},
    {"lr": 1e30},
    {"test_share": 0.9},
    {"budget": "soon"},
    {"budget": "1m", "epochs": 3},
    {"accept": 1.5},
    {"outliers": "nowhere", "method": "outlier-exposure"},
    {"known_classes": "red,pink"},
    {"image_size": 0},
    {"train": "head"},
    {"label_smoothing": 2.0},
]


@pytest.mark.parametrize("options", REFUSED, ids=str)
def test_a_refused_option_leaves_nothing_behind(pictures, tmp_path, options):
    run = tmp_path / "deep" / "run"
    given = {"known_classes": "red,blue", "pretrained": False, **options}
    with pytest.raises((BackmixError, ValueError)):
        fit_command(small(pictures, **({"epochs": None} if "budget" in options else {}) | given), run)
    assert not run.parent.exists()


def test_a_folder_that_was_there_stays_and_what_it_held_too(pictures, tmp_path):
    wrong, right = ({"augmentation": name} for name in ("backmxi", "backmix"))
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(ValueError, match="backmxi"):
        fit_command(small(pictures, known_classes="red,blue", **wrong), run)
    assert run.is_dir() and not any(run.iterdir())
    fit_command(small(pictures, known_classes="red,blue", **right), run)
    kept = {file: file.read_bytes() for file in run.iterdir() if file.is_file()}
    for resume in (False, True):
        with pytest.raises((RunError, ValueError)):
            fit_command(small(pictures, known_classes="red,blue", **wrong), run, resume=resume)
        assert {file: file.read_bytes() for file in run.iterdir() if file.is_file()} == kept
