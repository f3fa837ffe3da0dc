"""`backmix predict`: a row for each file, and nothing odd in a folder stops it."""

import csv
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from command_folders import colour, small
from PIL import Image

from backmix.classifier import OpenSetClassifier
from backmix.commands.evaluate import evaluate_command
from backmix.commands.fit import fit_command
from backmix.commands.predict import image_files, predict_command, predictions_csv
from backmix.detectors import METHOD, OURS
from backmix.errors import DataError
from backmix.prediction import Prediction


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
    report = fit_command(small(untidy, image_size=image_size, augmentation="backmix"), run, workers=1)
    said = capsys.readouterr().out
    names = {"text.png", "empty.jpg", "cut off].png", "gone.png"}
    assert {Path(name).name for name, _ in report.skipped} == names
    for name in names:  # Whether they fell to training or to calibration.
        assert said.count(f"{name}: ") == 1
    assert "notes.txt" in said
    unreadable = json.loads((run / "metrics.json").read_text())["unreadable"]
    assert {Path(entry["path"]).name for entry in unreadable} == names and all(entry["reason"] for entry in unreadable)
    assert OpenSetClassifier.load(run).classes == ["=blue", "[red] :cat: ["]
    # The other two commands survive such names as well.
    result = evaluate_command(run, str(untidy), json_file=tmp_path / "result.json")
    assert result["images"] == {"known": 24, "unknown": 0, "unreadable": 4}
    answers = predict_command(run, [untidy])
    said = capsys.readouterr().out
    assert sum(answer.error is not None for answer in answers) == 4 and "4 unreadable" in said
    assert "cut off].png" in said and "[red] :cat: [" in said


def test_a_detector_of_pytorch_ood_decides(pictures, tmp_path, capsys):
    pytest.importorskip("pytorch_ood")
    run = tmp_path / "run"
    fit_command(small(pictures, known_classes="red,green,blue", detector="knn"), run)
    written = json.loads((run / "calibration.json").read_text())
    assert written["detector"] == "knn" and set(written["thresholds"]) == {METHOD, *OURS, "knn"}
    result = evaluate_command(run, str(pictures), detectors="knn")
    assert "knn*" in capsys.readouterr().out and result["detectors"]["knn"]["accepted_known"] is not None
    (answer,) = predict_command(run, [pictures / "test" / "red" / "0.png"])
    assert answer.unknown_score >= 0 and answer.p_value is not None
    # Training is over: another detector and another share are taken from what is there.
    kept = (run / "model.safetensors").read_bytes()
    fit_command(small(pictures, known_classes="red,green,blue", detector="openmax", accept=0.9), run, resume=True)
    written = json.loads((run / "calibration.json").read_text())
    assert written["detector"] == "openmax" and written["accept"] == 0.9
    assert (run / "model.safetensors").read_bytes() == kept


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_predict_reports_row_by_row_and_goes_on(trained, tmp_path, suffix, capsys):
    folder = tmp_path / "files"
    folder.mkdir()
    kinds = all_kinds(folder)
    (tmp_path / "notes.txt").write_text("a text given by name")
    out = tmp_path / f"answers{suffix}"
    more = [tmp_path / "notes.txt", tmp_path / "missing.png", tmp_path / ("x" * 300 + ".png"), Path("/dev/null")]
    answers = predict_command(trained, [folder, *more], out=out)
    expected = {str(folder / name): good for name, good in kinds.items()} | {str(path): False for path in more}
    assert {answer.path: answer.error is None for answer in answers} == expected
    assert [answer.path for answer in answers] == list(expected)
    said = capsys.readouterr().out
    assert f"7 images answered, {sum(a.label == 'unknown' for a in answers)} of them unknown; 11 unreadable" in said
    if suffix == ".csv":
        rows = list(csv.DictReader(out.open(newline="")))
        assert [row["path"] for row in rows] == list(expected)
        for row, answer in zip(rows, answers, strict=True):
            assert (row["label"] or None, row["error"] or None) == (answer.label, answer.error)
            assert bool(row["unknown_score"]) == bool(row["top"]) == bool(row["p_value"]) == (answer.error is None)
    else:
        rows = json.loads(out.read_text())
        assert [row["path"] for row in rows] == list(expected)
        assert all(row["label"] in ("red", "green", "blue", "unknown", None) for row in rows)
        assert all(row["unknown_score"] == pytest.approx(a.unknown_score) for row, a in zip(rows, answers, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are no text exist on Linux alone")
@pytest.mark.parametrize("suffix", [None, ".csv", ".json"])
def test_file_names_that_are_no_text(trained, tmp_path, suffix):
    folder = tmp_path / "files"
    folder.mkdir()
    colour(folder / "fine.png", (200, 40, 40))
    os.rename(folder / "fine.png", os.fsencode(folder) + b"/caf\xe9.png")
    with open(os.fsencode(folder) + b"/\xff.png", "wb") as file:
        file.write(b"no image")
    out = None if suffix is None else tmp_path / f"answers{suffix}"
    answers = predict_command(trained, [folder], out=out)
    assert [Path(answer.path).name for answer in answers] == [r"caf\xe9.png", r"\xff.png"]
    assert [answer.error is None for answer in answers] == [True, False]
    assert out is None or r"caf\xe9.png" in out.read_text().replace("\\\\", "\\")


def test_predict_prints_whole_paths(trained, tmp_path, capsys):
    path = tmp_path / ("long " * 20) / ("name" * 20 + ".png")
    colour(path, (200, 40, 40))
    predict_command(trained, [path])
    printed = "".join(line[1:] for line in capsys.readouterr().out.splitlines())
    assert "name" * 20 in printed.replace(" ", "").replace("│", "") or "…" not in printed


def test_predict_with_nothing_to_look_at(trained, tmp_path):
    with pytest.raises(DataError, match="no image in .*; looked for .*jpg"):
        predict_command(trained, [tmp_path])


@pytest.mark.parametrize("name", ["answers.txt", "answers", "answers.csv.gz"])
def test_predict_writes_csv_and_json_alone(trained, tmp_path, name):
    with pytest.raises(ValueError, match=r"--out takes a \.csv or \.json file"):
        predict_command(trained, [tmp_path / "x.png"], out=tmp_path / name)


def test_predict_does_not_write_over_a_folder(trained, tmp_path):
    (tmp_path / "answers.csv").mkdir()
    with pytest.raises(ValueError, match=r"--out takes a file; .*answers\.csv is a folder"):
        predict_command(trained, [tmp_path / "x.png"], out=tmp_path / "answers.csv")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_cells_are_no_formulas(start):
    evil = f'{start}HYPERLINK("http://x")'
    answers = [
        Prediction(evil, evil, -1.5, 0.25, [(evil, 0.75), ("b", 0.25)]),
        Prediction(evil, error=evil),
        Prediction("fine.png", "a", 2.0, None, [("a", 1.0)]),
    ]
    rows = list(csv.reader(io.StringIO(predictions_csv(answers), newline="")))
    assert rows[0] == ["path", "label", "unknown_score", "p_value", "top", "error"]
    assert rows[1] == ["'" + evil, "'" + evil, "-1.5", "0.25", f"'{evil}:0.7500 b:0.2500", ""]
    assert rows[2] == ["'" + evil, "", "", "", "", "'" + evil]
    assert rows[3] == ["fine.png", "a", "2", "", "a:1.0000", ""]


def test_commas_quotes_and_lines_in_names_survive():
    name = 'a,"b"\nc.png'
    rows = list(csv.reader(io.StringIO(predictions_csv([Prediction(name, "x,y", 1.0, 1.0, [])]), newline="")))
    assert rows[1][:2] == [name, "x,y"]


def test_image_files_are_those_of_folders_and_all_that_are_named(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.webp", "sub/.d/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list(image_files([tmp_path / "notes.txt", tmp_path, tmp_path / "b.png", tmp_path / "missing"]))
    names = [str(path.relative_to(tmp_path)) for path in found]
    assert names[:3] == ["notes.txt", "a.JPG", "b.png"] and names[-2:] == ["b.png", "missing"]
    assert "sub/c.webp" in names and ".hidden.png" not in names


def test_image_files_out_of_reach_become_rows_and_stop_nothing(tmp_path, monkeypatch):
    locked = tmp_path / "locked" / "a.png"
    stat = os.stat

    def refuse(path, *arguments, **options):
        if "locked" in os.fspath(path):
            raise PermissionError(13, "Permission denied", path)
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert list(image_files([locked])) == [locked]


def test_a_file_nobody_may_read_is_a_row(trained, tmp_path, monkeypatch):
    colour(tmp_path / "a.png", (200, 40, 40))
    colour(tmp_path / "locked.png", (200, 40, 40))
    real = Path.open

    def refuse(self, *arguments, **options):
        if self.name == "locked.png":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    answers = predict_command(trained, [tmp_path], out=tmp_path / "answers.csv")
    assert [answer.error for answer in answers] == [None, "cannot be read: Permission denied"]
