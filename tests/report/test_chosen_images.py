"""Which images a report tests a run on, and what it says of them."""

import shutil

import pytest
from command_folders import colour

from backmix.data.load import training_split, usual_split
from backmix.errors import DataError
from backmix.report.chosen_images import called, choose_images
from backmix.runs.folder import load_run, read_config


@pytest.fixture(scope="module")
def choose(trained):
    classifier, config = load_run(trained), read_config(trained)
    return lambda run=trained, **asked: choose_images(run, classifier, config, **asked)


def test_the_runs_own_test_images_are_new(choose):
    chosen = choose()
    assert chosen.new and chosen.missing is None and len(chosen.tested) == 24 and not chosen.notes
    assert chosen.unknown is None and "held out" in chosen.origin


def test_images_that_a_run_held_out_itself(mixed_run):
    chosen = choose_images(mixed_run, load_run(mixed_run), read_config(mixed_run))
    names = {chosen.tested.classes[label] for label in chosen.tested.labels.tolist()}
    assert chosen.new and names == {"red", "green", "blue", "grey"}


def test_a_run_that_does_not_say_what_it_held_out(choose, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "held-out.json").unlink()
    chosen = choose(run)
    assert chosen.tested is None and not chosen.new and chosen.origin == ""
    assert chosen.missing.startswith("This run does not say which images it held out")
    assert "backmix report RUN --data DATA" in chosen.missing and str(tmp_path) not in chosen.missing


def test_images_that_are_gone_are_said_to_be(choose, trained, pictures, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    text = (run / "held-out.json").read_text()
    (run / "held-out.json").write_text(text.replace("pictures", "moved"))
    assert "cannot be opened" in choose(run).missing and "--moved-to DATA" in choose(run).missing
    found = choose(run, moved=str(pictures))
    assert found.new and found.missing is None and len(found.tested) == 24
    (run / "held-out.json").write_text("{")
    assert "cannot be read" in choose(run).missing


def test_given_images_and_their_split(choose, pictures):
    chosen = choose(data=str(pictures))
    assert len(chosen.tested) == 24 and not chosen.new and "pictures" in chosen.origin and "test" in chosen.origin
    assert str(pictures.parent) not in chosen.origin
    with pytest.raises(DataError, match="nowhere"):
        choose(data="nowhere/at/all/nowhere")


def test_images_that_were_trained_or_calibrated_on_are_counted(choose, pictures, mixed_run):
    (note,) = [n for n in choose(data=str(pictures), split="train").notes if "trained on" in n]
    assert "the figures are better than those of new images" in note
    arguments = {"data": str(pictures / "train")}
    chosen = choose_images(mixed_run, load_run(mixed_run), read_config(mixed_run), **arguments)
    train, calibration = chosen.notes
    counted = [int(note.split(" image")[0].split()[-1]) for note in (train, calibration)]
    assert "trained on" in train and "threshold was fitted on" in calibration
    own = choose_images(mixed_run, load_run(mixed_run), read_config(mixed_run))
    assert sum(counted) == 120 - int((own.tested.labels != own.tested.classes.index("grey")).sum())


def test_a_run_without_shares_was_trained_on_the_training_split(choose, trained, pictures, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "held-out.json").unlink()
    (run / "seen.json").unlink()
    assert "Most of these images were trained on" in choose(run, data=str(pictures), split="train").notes[0]
    assert choose(run, data=str(pictures)).notes == []
    assert len(choose(run, split="test").tested) == 24


def test_data_of_the_hub_that_only_the_run_names_is_not_asked_for(trained, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("backmix.data.load.hub_splits", lambda *_, **__: pytest.fail("the hub was asked"))
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "held-out.json").unlink()
    config = {**read_config(run), "arguments": {"data": "owner/name"}}
    with pytest.raises(DataError, match="asked only for what you name yourself: --moved-to owner/name"):
        choose_images(run, load_run(run), config, split="test")
    assert len(choose_images(run, load_run(run), config, split="test", moved=str(pictures)).tested) == 24


def test_unknown_images_leave_known_classes_out(choose, tmp_path):
    for name in ("red", "pink", "brown"):
        for number in range(2):
            colour(tmp_path / "others" / name / f"{number}.png", (90, 60, 30))
    chosen = choose(unknown=str(tmp_path / "others"))
    assert len(chosen.unknown) == 4 and len(chosen.tested) == 24
    assert "2 images of \u2068others\u2069 were left out: the run knows \u2068red\u2069." in chosen.notes[0]
    assert "come from other data" in chosen.notes[1] and chosen.origin.endswith("as unknown")
    shutil.rmtree(tmp_path / "others" / "pink")
    shutil.rmtree(tmp_path / "others" / "brown")
    colour(tmp_path / "others" / "blue" / "0.png", (0, 0, 200))
    chosen = choose(unknown=str(tmp_path / "others"))
    assert chosen.unknown is None and "No image of" in chosen.notes[-1]


def test_names_of_splits_and_data():
    assert usual_split("digits") == "test" and training_split("digits") == "train"
    assert called("digits:prior=0.8", "test") == "\u2068digits:prior=0.8\u2069, split \u2068test\u2069"
