"""`backmix calibrate`: from what the run held out or from other images, overall or by class, with example unknowns."""

import json
import shutil

import pytest
from command_folders import colour, small

from backmix.classifier import OpenSetClassifier
from backmix.cli import calibrate_command as module
from backmix.cli.calibrate_command import calibrate_command
from backmix.cli.fit_command import fit_command
from backmix.data import load_source
from backmix.errors import DataError, RunError
from backmix.inference.choose_detector import choose_detector
from backmix.runs.folder import save_calibration


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A run of three colours, with 60 images in a folder that is not divided, and the folder."""
    home = tmp_path_factory.mktemp("calibrate")
    for name, value in (("red", (200, 40, 40)), ("green", (40, 190, 60)), ("blue", (50, 60, 200))):
        for number in range(40):
            colour(home / "photos" / name / f"{number}.png", value)
    run = home / "run"
    arguments = small(home / "photos", epochs=12, batch_size=16, holdout=0.3, test_share=0.3, near_duplicates=False)
    fit_command(arguments, run)
    return home


@pytest.fixture
def run(fitted, tmp_path):
    return shutil.copytree(fitted / "run", tmp_path / "run")


def calibration(run):
    return json.loads((run / "calibration.json").read_text())


def test_what_another_calibration_chose_before_the_lock_was_free_is_kept(run, monkeypatch):
    """It ends after this command has begun and before it has the lock."""
    real = module.locked

    def locked(folder):
        other = OpenSetClassifier.load(folder)
        other.set_accept(0.8)
        save_calibration(other, folder)
        return real(folder)

    monkeypatch.setattr(module, "locked", locked)
    assert calibrate_command(run).accept == 0.8 and calibration(run)["accept"] == 0.8


def test_what_is_no_run_is_said_and_nothing_is_made(tmp_path):
    with pytest.raises(RunError, match="is not a folder"):
        calibrate_command(tmp_path / "nowhere")
    assert not any(tmp_path.iterdir())


def test_again_with_the_runs_own_images_changes_nothing(run, capsys):
    before = (run / "calibration.json").read_bytes(), (run / "config.yaml").read_bytes()
    calibrate_command(run)
    assert ((run / "calibration.json").read_bytes(), (run / "config.yaml").read_bytes()) == before
    said = capsys.readouterr().out
    assert "36 known images held out by the run; max_logit decides: above a score of" in said
    assert "on 36 test images of known classes it accepts" in said and "promised 95.0 %" in said
    assert "what a share to accept costs" in said and "How many photos of other things are refused is not known" in said
    assert "by the class that an image is taken for" in said and "one threshold decides for all" in said


def test_a_detector_whose_statistics_cannot_hold_is_said(run, capsys):
    pytest.importorskip("pytorch_ood")
    calibrate_command(run, detectors=["mahalanobis"])
    said = " ".join(capsys.readouterr().out.split())
    assert "mahalanobis: 48 training images for" in said and "or more; take shrunk_mahalanobis" in said
    calibrate_command(run, detectors=["shrunk_mahalanobis"])
    assert "training images for" not in capsys.readouterr().out
    assert OpenSetClassifier.load(run).detector == "shrunk_mahalanobis"


def test_a_share_that_the_images_do_not_allow_is_not_saved(run):
    """36 images allow 36 of 37 at most; a threshold for 0.99 would call nothing unknown."""
    before = (run / "calibration.json").read_bytes(), (run / "config.yaml").read_bytes()
    with pytest.raises(DataError, match=r"takes 99 known photos.*36 held out by the run.*most .* is --accept 0\.972"):
        calibrate_command(run, accept=0.99)
    assert ((run / "calibration.json").read_bytes(), (run / "config.yaml").read_bytes()) == before
    calibrate_command(run, accept=0.972)
    assert OpenSetClassifier.load(run).thresholds["max_logit"].note is None


def test_another_share_and_thresholds_by_class(run, capsys):
    calibrate_command(run, accept=0.8, per_class=True)
    said = capsys.readouterr().out
    assert "accepts 80.0% of known images or more" in said and "each class decides by its own threshold" in said
    classifier = OpenSetClassifier.load(run)
    assert classifier.accept == 0.8 and classifier.per_class
    assert [len(threshold.scores) for threshold in classifier.class_thresholds] == [12, 12, 12]
    # What is not said stays as it is, also when the file itself is lost.
    calibrate_command(run, accept=0.9)
    assert OpenSetClassifier.load(run).per_class
    (run / "calibration.json").write_text("{")
    with pytest.raises(RunError, match="calibration.json is not the file.*run `backmix calibrate`"):
        OpenSetClassifier.load(run)
    calibrate_command(run)
    assert OpenSetClassifier.load(run).accept == 0.95
    # 12 images of a class are too few for that share.
    calibrate_command(run, per_class=True)
    assert "stands in where fewer than 19 held-out images are taken for a class: blue, green, red" in (
        capsys.readouterr().out
    )


def test_other_images(run, pictures, capsys):
    # Its test split, of which the grey ones are not known: one image too few for a share of 0.95.
    with pytest.raises(DataError, match=r"there are 18 of .*most .* is --accept 0\.947"):
        calibrate_command(run, str(pictures))
    calibrate_command(run, str(pictures), accept=0.9)
    assert f"18 known images of {pictures}" in capsys.readouterr().out
    calibrate_command(run, str(pictures), split="train")
    assert len(calibration(run)["thresholds"]["max_logit"]["scores"]) == 120


def test_examples_of_unknowns_choose_among_detectors_and_nothing_else(run, fitted, tmp_path, capsys):
    for number in range(8):
        colour(tmp_path / "strange" / "grey" / f"{number}.png", (128, 128, 128))
        colour(tmp_path / "strange" / "red" / f"{number}.png", (200, 40, 40))
    calibrate_command(run, unknown=str(tmp_path / "strange"), detectors=["msp", "energy", "openmax"])
    said = capsys.readouterr().out
    assert "AUROC on 8 example unknowns" in said and "the examples do nothing else" in said
    kept = calibration(run)
    assert kept["chosen"]["images"] == 8 and set(kept["chosen"]["auroc"]) == {"msp", "energy", "openmax"}
    assert kept["detector"] == max(kept["chosen"]["auroc"], key=kept["chosen"]["auroc"].get)
    # The thresholds are those without any examples.
    scores = kept["thresholds"]["msp"]["scores"]
    calibrate_command(run, detectors=["msp"])
    assert calibration(run)["thresholds"]["msp"]["scores"] == scores and "chosen" not in calibration(run)
    assert OpenSetClassifier.load(run).detector == "msp"


def test_the_best_detector_is_the_one_with_the_largest_auroc(run, fitted, tmp_path):
    for number in range(8):
        colour(tmp_path / "strange" / "grey" / f"{number}.png", (128, 128, 128))
        colour(tmp_path / "strange" / "more" / f"{number}.png", (250, 250, 250))
    classifier = OpenSetClassifier.load(run)
    known, strange = load_source(fitted / "photos"), load_source(tmp_path / "strange")
    chosen = choose_detector(classifier, known, strange, ["msp", "max_logit", "method"])
    both = classifier.evaluate(known, detectors=["msp", "max_logit", "method"])
    assert chosen["images"] == 16 and both["accuracy"] > 0.9
    assert chosen["auroc"][chosen["detector"]] == max(chosen["auroc"].values())


def test_what_cannot_be_done_is_said(run, fitted, tmp_path, capsys):
    with pytest.raises(ValueError, match="one detector decides; got msp, energy"):
        calibrate_command(run, detectors=["msp", "energy"])
    with pytest.raises(ValueError, match="accept is a share"):
        calibrate_command(run, accept=1.0)
    with pytest.raises(DataError, match="none of the example unknowns is of another class"):
        calibrate_command(run, unknown=str(fitted / "photos"))
    with pytest.raises(RunError, match=r"held-out.json. Give the images yourself, as DATA"):
        (run / "held-out.json").unlink()
        calibrate_command(run)
    calibrate_command(run, str(fitted / "photos"))
    assert "test images" not in capsys.readouterr().out
    with pytest.raises(DataError, match="no image of a known class to calibrate on"):
        colour(tmp_path / "others" / "a" / "1.png", (1, 1, 1))
        colour(tmp_path / "others" / "b" / "1.png", (1, 1, 1))
        calibrate_command(run, str(tmp_path / "others"))


def test_images_that_were_trained_on_are_counted_and_said(run, fitted, tmp_path, capsys):
    """By content: the copies have other names and lie elsewhere."""
    for number, path in enumerate(sorted((fitted / "photos").rglob("*.png"))):
        copy = tmp_path / "moved" / path.parent.name.upper() / f"copy {number}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    calibrate_command(run, str(tmp_path / "moved"))
    said = " ".join(capsys.readouterr().out.split())
    assert "48 of these images were trained on: a threshold from these accepts fewer new images than promised" in said
    assert "taken for them: 'BLUE' as 'blue', 'GREEN' as 'green', 'RED' as 'red'" in said
    calibrate_command(run)
    assert "trained on" not in capsys.readouterr().out


def test_example_unknowns_may_lie_in_one_folder_or_loose(run, tmp_path, capsys):
    for number in range(6):
        colour(tmp_path / "strangers" / "grey" / f"{number}.png", (128, 128, 128))
        colour(tmp_path / "loose" / f"{number}.png", (128, 128, 128))
        colour(tmp_path / "known" / "Red" / f"{number}.png", (200, 40, 40))
    for folder in ("strangers", "loose"):
        calibrate_command(run, unknown=str(tmp_path / folder))
        assert "AUROC on 6 example unknowns" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(DataError, match="none of the example unknowns is of another class"):
        calibrate_command(run, unknown=str(tmp_path / "known"))
    assert "6 images of" in capsys.readouterr().out


def test_photos_that_moved_are_pointed_to(fitted, run, tmp_path, capsys):
    moved = shutil.copytree(fitted / "photos", tmp_path / "moved")
    text = (run / "held-out.json").read_text()
    (run / "held-out.json").write_text(text.replace(str(fitted / "photos"), str(tmp_path / "gone")))
    with pytest.raises(DataError, match="gone.*--moved-to DATA says where they are"):
        calibrate_command(run)
    before = (run / "calibration.json").read_bytes()
    calibrate_command(run, moved=str(moved))
    said = capsys.readouterr().out
    assert "36 known images held out by the run" in said and "on 36 test images of known classes" in said
    assert (run / "calibration.json").read_bytes() == before
    for number in range(40):
        (moved / "red" / f"{number}.png").unlink()
    colour(moved / "red" / "another.png", (200, 40, 40))
    with pytest.raises(DataError, match="held-out images are not in .*moved any more.*--moved-to"):
        calibrate_command(run, moved=str(moved))
