"""`backmix predict`: a row for each file, and nothing odd in a folder stops it."""

import csv
import importlib
import io
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_folders import colour, small
from deep_files import png
from PIL import Image
from typer.testing import CliRunner

from backmix.classifier import OpenSetClassifier
from backmix.cli import app
from backmix.cli.evaluate_command import evaluate_command
from backmix.cli.fit_command import fit_command
from backmix.cli.predict_command import KINDS, PredictArguments, predict_command
from backmix.detectors import METHOD, OURS
from backmix.errors import DataError, RunError
from backmix.predict.journal import OutputError
from backmix.predict.sort import Link


@pytest.fixture
def answers_of(tmp_path):
    """Predict into a file; gives the answers in it."""

    def call(model, paths, kind="jsonl", **options):
        out = tmp_path / f"answers of {len(list(tmp_path.iterdir()))}.{kind}"
        report = predict_command(model, paths, PredictArguments(out=out, **options))
        answers = [SimpleNamespace(**row) for row in read_rows(out)]
        assert report.unreadable == sum(bool(answer.error) for answer in answers)
        assert report.answered == sum(bool(answer.label) for answer in answers)
        assert report.unknown == sum(answer.label == "unknown" for answer in answers)
        assert not Path(f"{out}.progress").exists()
        return answers

    return call


def read_rows(out):
    """Rows of any kind of file, with None for what is not there."""
    text = out.read_bytes()
    if out.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(text.decode(), newline="")))
        return [{key: value or None for key, value in row.items()} for row in rows]
    if out.suffix == ".parquet":
        return pytest.importorskip("pyarrow.parquet").read_table(out).to_pylist()
    return json.loads(text) if out.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def untidy(tmp_path):
    """Class folders as people have them: damaged files, other files, odd names."""
    data = tmp_path / "data"
    for name, value in (("[red] :cat: [", (200, 0, 0)), ("=blue", (0, 0, 200))):
        for number in range(12):
            colour(data / name / f"[{number}].png", value)
    broken = {
        data / "=blue" / "text.png": b"no image",
        data / "=blue" / "empty.jpg": b"",
        data / "[red] :cat: [" / "cut off].png": (data / "=blue" / "[3].png").read_bytes()[:500],
    }
    for path, content in broken.items():
        path.write_bytes(content)
    (data / "=blue" / "gone.png").symlink_to(data / "nowhere.png")
    (data / "=blue" / "notes.txt").write_text("not an image")
    return data


def all_kinds(folder):
    """One file of each kind that people have; name -> whether it can be read."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(folder / "rotated.jpg", exif=exif)
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.quantize(8).save(folder / "palette.png")
    rgb.convert("RGBA").save(folder / "alpha.png")
    rgb.save(folder / "animated.gif", save_all=True, append_images=[rgb.rotate(90)])
    Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40).save(folder / "16bit.png")
    rgb.save(folder / "whole.png")
    whole = (folder / "whole.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "broken.png").write_bytes(whole[:40] + b"\0" * 80 + whole[120:])
    (folder / "zero.png").touch()
    (folder / "text.jpg").write_text("no image")
    bomb = bytearray(whole)
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2  # The header claims 3.6 gigapixels.
    import zlib

    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(bytes(bomb))
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    good = ["16bit.png", "alpha.png", "animated.gif", "cmyk.jpg", "palette.png", "rotated.jpg", "whole.png"]
    return {name: name in good for name in sorted(entry.name for entry in folder.iterdir())}


@pytest.mark.parametrize("image_size", [32, 96])
def test_training_lists_what_it_cannot_read_and_goes_on(untidy, tmp_path, capsys, image_size):
    run = tmp_path / "run"
    report = fit_command(small(untidy, image_size=image_size, augmentation="backmix", test_share=0), run, workers=1)
    said = capsys.readouterr().out
    names = {"text.png", "empty.jpg", "cut off].png", "gone.png"}
    assert {Path(name).name for name, _ in report.skipped} == names
    for name in names:  # Whether they fell to training or to calibration.
        assert said.count(f"{name}: ") == 1
    assert "1 file is no image by the extension: .txt (1)" in said
    unreadable = json.loads((run / "metrics.json").read_text())["unreadable"]
    assert {Path(entry["path"]).name for entry in unreadable} == names and all(entry["reason"] for entry in unreadable)
    assert OpenSetClassifier.load(run).classes == ["=blue", "[red] :cat: ["]
    # The other two commands survive such names as well.
    result = evaluate_command(run, str(untidy), json_file=tmp_path / "result.json")
    assert result["images"] == {"known": 24, "unknown": 0, "unreadable": 4}
    report = predict_command(run, [untidy])
    said = capsys.readouterr().out
    assert (report.answered, report.unreadable) == (24, 4) and "4 unreadable" in said
    assert "cut off].png" in said and "[red] :cat: [" in said


def test_a_detector_of_pytorch_ood_decides(pictures, tmp_path, capsys, answers_of):
    pytest.importorskip("pytorch_ood")
    run = tmp_path / "run"
    fit_command(small(pictures, known_classes="red,green,blue", detector="knn"), run)
    written = json.loads((run / "calibration.json").read_text())
    assert written["detector"] == "knn" and set(written["thresholds"]) == {METHOD, *OURS, "knn"}
    result = evaluate_command(run, str(pictures), detectors="knn")
    assert "knn*" in capsys.readouterr().out and result["detectors"]["knn"]["accepted_known"] is not None
    (answer,) = answers_of(run, [pictures / "test" / "red" / "0.png"])
    assert answer.unknown_score >= 0 and answer.p_value is not None
    # Training is over: another detector and another share are taken from what is there.
    kept = (run / "model.safetensors").read_bytes()
    fit_command(small(pictures, known_classes="red,green,blue", detector="openmax", accept=0.9), run, resume=True)
    written = json.loads((run / "calibration.json").read_text())
    assert written["detector"] == "openmax" and written["accept"] == 0.9
    assert (run / "model.safetensors").read_bytes() == kept


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
def test_predict_reports_row_by_row_and_goes_on(trained, tmp_path, kind, capsys, answers_of):
    folder = tmp_path / "files"
    folder.mkdir()
    kinds = all_kinds(folder)
    (tmp_path / "notes.txt").write_text("a text given by name")
    more = [tmp_path / "notes.txt", tmp_path / "missing.png", tmp_path / ("x" * 300 + ".png"), Path("/dev/null")]
    answers = answers_of(trained, [folder, *more], kind)
    expected = {str(folder / name): good for name, good in kinds.items()} | {str(path): False for path in more}
    assert {answer.path: answer.error is None for answer in answers} == expected
    assert [answer.path for answer in answers] == list(expected)
    said = capsys.readouterr().out
    assert f"7 images answered, {sum(a.label == 'unknown' for a in answers)} of them unknown; 11 unreadable" in said
    assert all(answer.label in ("red", "green", "blue", "unknown", None) for answer in answers)
    for answer in answers:
        assert bool(answer.unknown_score) == bool(answer.top) == bool(answer.p_value) == (answer.error is None)


def test_predict_says_what_the_classifier_says(trained, pictures, answers_of):
    paths = sorted((pictures / "test").rglob("*.png"))
    expected = OpenSetClassifier.load(trained).predict(paths, top=2)
    for options in ({}, {"batch_size": 5, "workers": 3}):
        answers = answers_of(trained, [pictures / "test"], top=2, **options)
        assert [answer.path for answer in answers] == [answer.path for answer in expected]
        for found, wanted in zip(answers, expected, strict=True):
            assert found.label == wanted.label and found.p_value == pytest.approx(wanted.p_value)
            assert found.unknown_score == pytest.approx(wanted.unknown_score, abs=1e-4)
            assert [name for name, _ in found.top] == [name for name, _ in wanted.top]


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are no text exist on Linux alone")
@pytest.mark.parametrize("kind", [None, "csv", "jsonl", "json", "parquet"])
def test_file_names_that_are_no_text(trained, tmp_path, kind, capsys, monkeypatch, answers_of):
    folder = tmp_path / "files"
    folder.mkdir()
    colour(folder / "fine.png", (200, 40, 40))
    os.rename(folder / "fine.png", os.fsencode(folder) + b"/caf\xe9.png")
    with open(os.fsencode(folder) + b"/\xff.png", "wb") as file:
        file.write(b"no image")
    if kind is None:
        monkeypatch.chdir(tmp_path)  # A long path is folded.
        predict_command(trained, [Path("files")])
        said = capsys.readouterr().out
        assert r"caf\xe9.png" in said and r"\xff.png" in said
        return
    answers = answers_of(trained, [folder], kind)
    assert [Path(answer.path).name for answer in answers] == [r"caf\xe9.png", r"\xff.png"]
    assert [answer.error is None for answer in answers] == [True, False]


def test_names_that_are_to_break_tables(trained, tmp_path, monkeypatch, capsys, answers_of):
    names = [
        "=cmd|' /C calc'!A0.png",
        '<img src=x onerror="a()">.png',
        'a,"b"\n=1.png',
        "\u202egnp.x.png",
        "\x1b[2J.png",
    ]
    for name in names:
        colour(tmp_path / "files" / name, (200, 40, 40))
    monkeypatch.chdir(tmp_path / "files")
    for kind in ("csv", "jsonl", "json", "parquet"):
        paths = [answer.path for answer in answers_of(trained, names, kind)]
        assert paths == [("'" + name if kind == "csv" and name[0] == "=" else name) for name in names]
    predict_command(trained, names)
    assert not set("\x1b\u202e") & set(capsys.readouterr().out)


def test_predict_prints_whole_paths(trained, tmp_path, capsys):
    path = tmp_path / ("long " * 20) / ("name" * 20 + ".png")
    colour(path, (200, 40, 40))
    predict_command(trained, [path])
    printed = "".join(line[1:] for line in capsys.readouterr().out.splitlines())
    assert "name" * 20 in printed.replace(" ", "").replace("│", "") or "…" not in printed


def test_predict_with_nothing_to_look_at(trained, tmp_path):
    out = tmp_path / "new" / "answers.csv"
    with pytest.raises(DataError, match="no image in .*; looked for .*jpg"):
        predict_command(trained, [tmp_path], PredictArguments(out=out))
    assert not out.parent.exists()


@pytest.mark.parametrize("name", ["answers.txt", "answers", "answers.csv.gz"])
def test_predict_must_know_the_kind_of_its_file(trained, tmp_path, name):
    out = tmp_path / name
    with pytest.raises(ValueError, match=r"--out takes a \.csv, \.jsonl, \.json or \.parquet file"):
        predict_command(trained, [tmp_path / "x.png"], PredictArguments(out=out))
    predict_command(trained, [tmp_path / "x.png"], PredictArguments(out=out, kind="csv"))
    assert out.read_bytes().startswith(b"path,label,unknown_score,p_value,top,error\r\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"link": "hard"}, "--link says how --sort-into"),
        ({"out": Path("a.csv"), "resume": True, "overwrite": True}, "give one of them"),
        ({"resume": True}, "name it with --out"),
        ({"kind": "parquet"}, "name it with --out"),
        ({"kind": "xml"}, "--format takes csv, jsonl, json, parquet; got xml"),
        ({"sort_into": Path(__file__)}, "--sort-into takes a folder"),
        ({"out": Path(__file__).parent}, "--out takes a file; .* is a folder"),
    ],
)
def test_options_that_do_not_go_together(trained, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        predict_command(trained, [tmp_path / "x.png"], PredictArguments(**options))
    assert not list(tmp_path.iterdir())


def test_predict_does_not_write_over_a_file_unasked(trained, pictures, tmp_path):
    out = tmp_path / "answers.csv"
    out.write_text("mine")
    for resume in (False, True):
        with pytest.raises(OutputError, match="--overwrite replaces it"):
            predict_command(trained, [pictures / "test"], PredictArguments(out=out, resume=resume))
    assert out.read_text() == "mine"
    predict_command(trained, [pictures / "test"], PredictArguments(out=out, overwrite=True))
    assert len(read_rows(out)) == 24


def test_another_model_cannot_go_on(trained, pictures, tmp_path):
    out = tmp_path / "answers.csv"
    begun(out, trained, pictures / "test")
    other = tmp_path / "other"
    classifier = OpenSetClassifier.load(trained)
    classifier.set_accept(0.5)
    classifier.save(other)
    with pytest.raises(
        OutputError, match=r"other settings .model: [0-9a-f]{12}\.\.\. then, [0-9a-f]{12}\.\.\. now.: .* calibrated"
    ):
        predict_command(other, [pictures / "test"], PredictArguments(out=out, resume=True))
    with pytest.raises(OutputError, match="top: 3 then, 1 now"):
        predict_command(trained, [pictures / "test"], PredictArguments(out=out, resume=True, top=1))
    report = predict_command(trained, [pictures / "test"], PredictArguments(out=out, resume=True))
    assert (report.resumed, report.answered, report.stopped) == (9, 24, None)


def begun(out, model, folder, stop=14):
    """A file with the first nine answers, as a stop leaves it; fewer where there are not many more images."""
    from backmix.cli import predict_command as predict

    real = predict.find_images

    def stops(paths, **options):
        for number, one in enumerate(real(paths, **options)):
            if number == stop:
                raise predict.Stop(2)
            yield one

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "find_images", stops)
        report = predict_command(model, [folder], PredictArguments(out=out, batch_size=3, workers=1))
    # What was found and not yet answered when it stopped has no row.
    assert report.stopped == 2 and report.answered == stop - 5


def test_relative_paths_go_on_from_the_same_folder(trained, pictures, tmp_path, monkeypatch):
    out = tmp_path / "answers.csv"
    monkeypatch.chdir(pictures)
    begun(out, trained, "test")
    monkeypatch.chdir(pictures / "train")
    with pytest.raises(OutputError, match="paths from: .* then, .* now"):
        predict_command(trained, ["red"], PredictArguments(out=out, resume=True))
    monkeypatch.chdir(pictures)
    assert predict_command(trained, ["test"], PredictArguments(out=out, resume=True)).answered == 24
    assert len(read_rows(out)) == 24


def test_images_that_came_meanwhile_are_answered_and_none_twice(trained, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "answers.jsonl"
    for number in range(12):
        colour(folder / f"{number:02d}.png", (200, 40, 40))
    begun(out, trained, folder, 11)
    first = [row["path"] for row in read_rows(out)]
    colour(folder / "00-new.png", (40, 40, 200))
    (folder / "01.png").unlink()
    report = predict_command(trained, [folder], PredictArguments(out=out, resume=True))
    paths = [row["path"] for row in read_rows(out)]
    assert paths[: len(first)] == first and report.resumed == len(first)
    left = sorted({str(path) for path in folder.iterdir()} - set(first))
    assert paths[len(first) :] == left and str(folder / "00-new.png") in left


@pytest.mark.parametrize("link", [None, "hard", "symbolic"])
def test_sorting_into_a_folder_among_the_images(trained, pictures, tmp_path, link, capsys):
    photos = tmp_path / "photos"
    for colour_name in ("blue", "red"):
        for number in range(3):
            source = pictures / "test" / colour_name / f"{number}.png"
            target = photos / colour_name / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    (photos / "broken.png").write_text("no image")
    before = {path: path.read_bytes() for path in photos.rglob("*.png")}
    into = photos / "sorted"
    report = predict_command(trained, [photos], PredictArguments(sort_into=into, link=link))
    assert (report.answered, report.unreadable) == (6, 1) and f"sorted into {into}" in capsys.readouterr().out
    rows = read_rows(into / "answers.csv")
    assert len(rows) == 7 and set(before) == {Path(row["path"]) for row in rows}
    made = [path for path in into.rglob("*.png")]
    assert len(made) == 6 and sorted(path.parent.name for path in made) == sorted(
        row["label"] for row in rows if row["label"]
    )
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(OutputError):
        predict_command(trained, [photos], PredictArguments(sort_into=into, link=link))


def test_a_folder_is_not_sorted_into_itself(trained, pictures, tmp_path):
    (tmp_path / "link").symlink_to(pictures / "test")
    with pytest.raises(ValueError, match="cannot be sorted into itself"):
        predict_command(trained, [tmp_path / "link"], PredictArguments(sort_into=pictures / "test"))


def test_the_command_line_knows_the_same_names():
    cli = importlib.import_module("backmix.cli.arguments")
    assert [kind.value for kind in cli.Kind] == list(KINDS) and [way.value for way in cli.Linking] == list(Link)


def test_class_names_that_lead_elsewhere(pictures, tmp_path):
    model, into = tmp_path / "model", tmp_path / "deep" / "sorted"
    OpenSetClassifier(["../../up", "=x", "<b>"], model="compact-s", image_size=32).save(model)
    predict_command(model, [pictures / "test"], PredictArguments(sort_into=into))
    assert {path.name for path in into.iterdir()} <= {"_._.._up", "=x", "_b_", "unknown", "answers.csv"}
    assert {path.name for path in tmp_path.iterdir()} == {"model", "deep"}
    assert len(list(into.rglob("*.png"))) == 24


def test_rows_on_standard_output(trained, pictures, capsys):
    predict_command(trained, [pictures / "test"], PredictArguments(kind="jsonl"))
    said = capsys.readouterr()
    assert len([json.loads(line) for line in said.out.splitlines()]) == 24
    assert "24 images answered" in said.err


def test_a_list_on_standard_input(trained, pictures, monkeypatch, answers_of):
    names = [str(pictures / "test" / "red" / "0.png"), str(pictures / "test" / "blue"), "gone.png"]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO("\n".join(names).encode())))
    answers = answers_of(trained, ["-"])
    assert len(answers) == 8 and [answer.error for answer in answers] == [None] * 7 + ["no such file"]


@pytest.mark.parametrize("name", ["model.pt", "model.PTH", "model.pkl", "weights.ckpt"])
def test_files_that_may_hold_code_are_not_loaded(tmp_path, pictures, name):
    (tmp_path / name).write_bytes(b"\x80\x04")
    with pytest.raises(RunError, match="may hold code.*backmix export"):
        predict_command(tmp_path / name, [pictures / "test"])


def test_a_file_nobody_may_read_is_a_row(trained, tmp_path, monkeypatch, answers_of):
    folder = tmp_path / "files"
    colour(folder / "a.png", (200, 40, 40))
    colour(folder / "locked.png", (200, 40, 40))
    real = Path.open

    def refuse(self, *arguments, **options):
        if self.name == "locked.png":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    answers = answers_of(trained, [folder])
    assert [answer.error for answer in answers] == [None, "cannot be read: Permission denied"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_fails_before_the_first_answer_leaves_no_file(trained, pictures, tmp_path, monkeypatch, kind):
    def fail(*_, **__):
        raise RuntimeError("out of memory")

    out = tmp_path / f"answers.{kind}"
    monkeypatch.setattr("backmix.cli.predict_command.answer_images", fail)
    with pytest.raises(RuntimeError, match="memory"):
        predict_command(trained, [pictures / "test"], PredictArguments(out=out, batch_size=10**9))
    assert not any(tmp_path.iterdir())
    monkeypatch.undo()
    report = predict_command(trained, [pictures / "test" / "red"], PredictArguments(out=out, batch_size=2))
    assert len(read_rows(out)) == report.answered > 0


def test_kinds_that_cannot_be_read_are_told(trained, pictures, tmp_path, capsys):
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("IMG_1.CR2", "IMG_2.nef", "IMG_3.cr2"):
        (folder / name).write_bytes(b"raw")
    with pytest.raises(
        DataError, match=r"no image in .*; 3 files of kinds that cannot be read: .cr2 \(2\), .nef \(1\)"
    ):
        predict_command(trained, [folder])
    Image.new("RGB", (40, 40)).save(folder / "a.jpg")
    (folder / "list.txt").write_text("x")
    for paths in ([folder], [folder / "*"]):
        assert predict_command(trained, paths).answered == 1
        said = capsys.readouterr().err
        assert "3 files of kinds that cannot be read: .cr2 (2), .nef (1)" in said
        assert "1 file is no image by the extension: .txt (1)" in said


def test_a_missing_folder_and_nothing_readable_are_failures(trained, tmp_path):
    with pytest.raises(DataError, match="there is no folder or file .*nowhere"):
        predict_command(trained, [tmp_path / "nowhere"])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.jpg").write_bytes(b"no image")
    out = tmp_path / "answers.csv"
    code = CliRunner().invoke(app, ["predict", str(trained), str(tmp_path / "bad"), "--out", str(out)])
    assert code.exit_code == 1 and "none of the images could be read" in code.output
    assert len(read_rows(out)) == 1


def test_a_run_that_is_calibrated_while_it_is_loaded_does_not_pass(trained, pictures, tmp_path, monkeypatch):
    from backmix.cli import predict_command as predict

    run = tmp_path / "run"
    shutil.copytree(trained, run)
    real = predict.load_predictor

    def slow(path):
        loaded = real(path)
        classifier = OpenSetClassifier.load(run)
        classifier.set_accept(0.5)
        classifier.save(run)
        return loaded

    monkeypatch.setattr(predict, "load_predictor", slow)
    with pytest.raises(RunError, match="was changed while it was loaded"):
        predict_command(run, [pictures / "test"], PredictArguments(out=tmp_path / "answers.csv"))
    assert not (tmp_path / "answers.csv").exists()


def test_deep_images_of_an_unknown_range_are_told(trained, tmp_path, capsys):
    (tmp_path / "deep.png").write_bytes(png(np.full((40, 40, 1), 900, np.uint16)))
    predict_command(trained, [tmp_path / "deep.png"])
    assert "of 1 image nothing says which values are black and white" in " ".join(capsys.readouterr().err.split())
