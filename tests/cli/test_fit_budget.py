"""A budget that buys too few epochs: something quicker is trained, and that is said."""

import pytest
from command_folders import colour

from backmix.classifier import OpenSetClassifier
from backmix.cli.fit_command import fit_command
from backmix.fit.arguments import FitArguments
from backmix.runs.folder import read_config


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name, value in (("red", (200, 40, 40)), ("blue", (50, 60, 200))):
        for number in range(10):
            colour(folder / name / f"{number}.png", value, size=(64, 64))
    return folder


def slow(monkeypatch, seconds):
    """Let an epoch take `seconds` by the work of an image: that long for compact at 64 px."""
    from backmix.fit.quicker import work

    asked = []

    def measure(network, loader, preprocess, options, *_, **__):
        name = "compact-s" if sum(of.numel() for of in network.parameters()) < 500_000 else "compact"
        asked.append((name, preprocess.image_size))
        return seconds * work(name, preprocess.image_size) / work("compact", 64)

    monkeypatch.setattr("backmix.fit.training.measure_epoch", measure)
    return asked


def ask(photos, **options):
    given = {"budget": "10m", "batch_size": 8, "near_duplicates": False, "pretrained": False, "lr": 0.02}
    return FitArguments(str(photos), **{**given, **options})


def test_a_smaller_network_or_image_takes_the_place(photos, tmp_path, capsys, monkeypatch):
    asked = slow(monkeypatch, 200.0)
    fit_command(ask(photos), tmp_path / "run")
    said = " ".join(capsys.readouterr().out.split())
    (before, _), (after, size) = asked
    assert before == "compact" and (after, size) != asked[0]
    assert (
        f"so {after} at {size} px takes the place of compact at 64 px" in said and "an epoch takes about 200 s" in said
    )
    classifier = OpenSetClassifier.load(tmp_path / "run")
    assert (classifier.settings["model"], classifier.preprocess.image_size) == (after, size)
    config = read_config(tmp_path / "run")
    assert (config["chosen"]["model"], config["chosen"]["image_size"]) == (after, size)
    assert config["training"]["epochs"] >= 5


def test_what_a_person_chose_stays_and_is_told(photos, tmp_path, capsys, monkeypatch):
    asked = slow(monkeypatch, 200.0)
    fit_command(ask(photos, model="compact", image_size=64), tmp_path / "run")
    said = " ".join(capsys.readouterr().out.split())
    assert len(asked) == 1 and "these are few to learn from" in said and "takes the place" not in said
    assert read_config(tmp_path / "run")["training"]["epochs"] == 2


def test_enough_time_changes_nothing(photos, tmp_path, capsys, monkeypatch):
    asked = slow(monkeypatch, 50.0)
    fit_command(ask(photos), tmp_path / "run")
    assert len(asked) == 1 and "takes the place" not in capsys.readouterr().out
