"""A training that was asked for: which folders it takes, and what begun ones decide."""

import pytest
from command_folders import colour, small

from backmix.data.photo import FULL, SCALED
from backmix.data.write_yaml import as_yaml
from backmix.errors import RunError
from backmix.fit.arguments import FitArguments
from backmix.fit.begun import begun_choices, check_out
from backmix.fit.session import FitSession
from backmix.runs.folder import read_config


def test_check_out(trained, tmp_path):
    arguments = FitArguments("digits")
    for resume in (False, True):
        check_out(tmp_path / "new", arguments, resume)
        check_out(tmp_path, arguments, resume)
        with pytest.raises(RunError, match="is a file"):
            check_out(trained / "config.yaml", arguments, resume)
    with pytest.raises(RunError, match="is not empty. Choose another --out"):
        check_out(trained, arguments, False)
    with pytest.raises(
        RunError,
        match=r"cannot resume .*: data: .* -> 'digits'; .*model: 'compact-s' -> None; .*epochs: 6 -> None",
    ):
        check_out(trained, arguments, True)
    (tmp_path / "photo.png").touch()
    with pytest.raises(RunError, match="holds other things and no run to resume"):
        check_out(tmp_path, arguments, True)


def test_classes_as_a_list_are_recorded_as_they_are_typed():
    assert FitArguments("x", known_classes=["tench, Tinca tinca", "b"]).known_classes == "tench\\, Tinca tinca,b"
    assert FitArguments("x", known_classes="a, b").known_classes == "a, b" and FitArguments("x").known_classes is None


def test_what_a_run_began_with_is_taken_where_it_goes_on(trained, tmp_path):
    begun = begun_choices(trained)
    assert begun["model"] == "compact-s" and begun["epochs"] == 6 and begun["precision"] == "fp32"
    assert begun_choices(tmp_path) == {}


def test_a_training_that_an_earlier_version_began_goes_on_with_the_pixels_it_began_with(tmp_path):
    for name, value in (("red", (200, 40, 40)), ("blue", (50, 60, 200))):
        for number in range(12):
            colour(tmp_path / "photos" / name / f"{number}.png", value)
    arguments, out = small(tmp_path / "photos", near_duplicates=False), tmp_path / "run"
    session = FitSession(arguments, out)
    session._record(session.options)
    config = read_config(out)
    assert config["chosen"]["decoding"] == session.classifier.preprocess.decoding == SCALED
    assert FitSession(arguments, out, resume=True).classifier.preprocess.decoding == SCALED
    del config["chosen"]["decoding"]
    (out / "config.yaml").write_text(as_yaml(config))
    assert FitSession(arguments, out, resume=True).classifier.preprocess.decoding == FULL
