"""`backmix study`: what it writes and prints, and that it goes on where it was cut off."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from backmix.cli import app
from backmix.cli import study_command as module
from backmix.cli.study_command import study_command
from backmix.errors import DataError
from backmix.study.arguments import StudyArguments, typed

SMALL = StudyArguments(parts=("d",), priors=(0.9,), seeds=(0,), epochs=1)


def quick(monkeypatch, calls):
    """Cells are trained only in test_cell.py; here they are made up."""
    from study_cells import made_cell

    def run_cell(setting, cell, workers):
        calls.append(cell)
        return None if "pure" in cell.training else made_cell(cell)

    monkeypatch.setattr(module, "run_cell", run_cell)


def test_what_it_writes_and_that_nothing_is_done_twice(tmp_path, monkeypatch, capsys):
    calls = []
    quick(monkeypatch, calls)
    study = study_command(SMALL, tmp_path)
    written = json.loads((tmp_path / "study.json").read_text())
    assert written == study and len(written["cells"]) == 6 and written["missing"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.html", "study.json"]
    out = capsys.readouterr().out
    assert "(d) The audit of one network" in out and "swap, true masks, every image" in out
    assert study_command(SMALL, tmp_path) == written and len(calls) == 6


def test_more_parts_and_seeds_are_added(tmp_path, monkeypatch):
    calls = []
    quick(monkeypatch, calls)
    study_command(SMALL, tmp_path)
    before = len(calls)
    more = StudyArguments(parts=("b", "c", "d"), priors=(0.9,), seeds=(0, 1), epochs=1)
    study = study_command(more, tmp_path)
    assert len(study["cells"]) == len(calls) == 24 and before == 6
    assert study["setting"]["parts"] == ["b", "c", "d"]
    left_out = [cell for cell in study["cells"] if cell.get("left_out")]
    assert {cell["training"] for cell in left_out} == {
        "outlier-exposure, pure backgrounds",
        "entropic, pure backgrounds",
    }


def test_cut_off_and_gone_on(tmp_path, monkeypatch):
    calls = []
    quick(monkeypatch, calls)
    honest = module.run_cell

    def stopped(setting, cell, workers):
        if len(calls) == 4:
            raise KeyboardInterrupt
        return honest(setting, cell, workers)

    monkeypatch.setattr(module, "run_cell", stopped)
    with pytest.raises(KeyboardInterrupt):
        study_command(SMALL, tmp_path)
    kept = json.loads((tmp_path / "study.json").read_text())
    assert len(kept["cells"]) == 4 and kept["missing"] == 2
    monkeypatch.setattr(module, "run_cell", honest)
    assert study_command(SMALL, tmp_path)["missing"] == 0 and len(calls) == 6


def test_files_that_are_passed_over_are_told_even_where_the_data_is_refused(tmp_path, capsys):
    for split in ("train", "test"):
        for name in ("cat", "dog", "owl"):
            place = tmp_path / "data" / split / name
            place.mkdir(parents=True)
            Image.new("RGB", (20, 20)).save(place / "one.png")
    for number in range(3):
        (tmp_path / "data" / "train" / "owl" / f"{number}.cr2").write_bytes(b"raw")
    with pytest.raises(DataError, match="has no masks"):
        study_command(StudyArguments(data=str(tmp_path / "data")), tmp_path / "out")
    assert "3 files" in capsys.readouterr().out and not (tmp_path / "out").exists()


def test_another_study_is_not_gone_on_with(tmp_path, monkeypatch):
    quick(monkeypatch, [])
    study_command(SMALL, tmp_path)
    other = StudyArguments(parts=("d",), priors=(0.8,), seeds=(0,), epochs=1)
    with pytest.raises(DataError, match="holds a study with another priors; give another --out"):
        study_command(other, tmp_path)
    (tmp_path / "study.json").write_text("[]")
    with pytest.raises(DataError, match="is no study that can be gone on with"):
        study_command(SMALL, tmp_path)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"parts": ("e",)}, "the parts of the study are a, b, c, d; got 'e'"),
        ({"seeds": (1, 1)}, "seeds are different numbers"),
        ({"seeds": ()}, "seeds are different numbers"),
        ({"priors": (1.2,)}, r"priors are rates in 0..1; got \[1.2\]"),
        ({"parts": ("a",), "priors": (0.5,)}, "needs at least two; --priors has 0.5 alone"),
        ({"scenes": "x"}, "leave out --scenes"),
        ({"data": "digits:prior=0.5"}, "say digits, and --priors"),
    ],
)
def test_bad_arguments(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        study_command(StudyArguments(**options), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_line(tmp_path, monkeypatch):
    calls = []
    quick(monkeypatch, calls)
    words = [
        "study",
        "--out",
        str(tmp_path / "out"),
        "--parts",
        "d",
        "--priors",
        "0.9",
        "--seeds",
        "0",
        "--epochs",
        "1",
    ]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0 and len(calls) == 6 and (tmp_path / "out" / "study.html").is_file()
    wrong = CliRunner().invoke(app, ["study", "--out", str(tmp_path), "--priors", "many"])
    assert wrong.exit_code == 2 and "rates such as 0.5,0.95" in wrong.output


@pytest.fixture
def asked(monkeypatch):
    """What the command line asks for; nothing is trained."""
    asked = []
    monkeypatch.setattr(module, "study_command", lambda arguments, out: asked.append(arguments))
    return asked


def test_the_command_that_a_page_shows_asks_for_the_same(asked):
    names = ("tench, Tinca tinca", "a\\", r"b\,c", "goldfish")
    arguments = StudyArguments(data="a b", known_classes=names, parts=("b", "d"), priors=(0.5, 0.95), seeds=(3, 0))
    CliRunner().invoke(app, typed(arguments)[1:], catch_exceptions=False)
    assert asked == [arguments]


def test_a_class_that_has_a_comma_in_its_name(asked):
    words = ["study", "--out", "x", "--known-classes"]
    for names in ([r"tench\, Tinca tinca, goldfish"], ["tench, Tinca tinca", "--known-classes", "goldfish"]):
        CliRunner().invoke(app, [*words, *names], catch_exceptions=False)
        assert asked.pop().known_classes == ("tench, Tinca tinca", "goldfish")
