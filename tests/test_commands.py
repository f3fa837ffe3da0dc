"""The commands on small folders: what they leave, what they print, and that nothing odd in a folder stops them."""

import csv
import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backmix.classifier import OpenSetClassifier, Prediction
from backmix.commands import (
    FitArguments,
    auto_image_size,
    check_out,
    evaluate_command,
    fit_command,
    image_files,
    load_training_data,
    predict_command,
    predictions_csv,
)
from backmix.data.folder import FolderSource
from backmix.detectors import METHOD, OURS, WRAPPED
from backmix.errors import DataError, RunError
from backmix.mixing import BackMix
from backmix.run import read_config

FIGURES = {"auroc", "oscr", "fpr95", "aupr_in", "aupr_out", "detection_accuracy"}


def small(data, **options):
    defaults = {"model": "compact-s", "image_size": 32, "epochs": 1, "batch_size": 8, "lr": 0.05}
    return FitArguments(str(data), **{**defaults, **options})


def colour(path, value, size=(40, 40), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(os.fsencode(path)))
    pixels = (random.normal(0, 20, (size[1], size[0], 3)) + np.array(value)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, **options)


def test_a_run_is_a_folder_with_everything_in_it(trained):
    names = {entry.name for entry in trained.iterdir()}
    assert names == {
        *("config.yaml", "model.safetensors", "classes.json", "calibration.json", "metrics.json"),
        *("training.safetensors", "checkpoint.pt", "logs"),
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


def test_validation_images_calibrate_and_are_counted_rightly(tmp_path, capsys):
    data = tmp_path / "data"
    for split, count in (("train", 6), ("val", 4), ("test", 2)):
        for name, value in (("red", (200, 0, 0)), ("blue", (0, 0, 200)), ("green", (0, 200, 0))):
            for number in range(count):
                colour(data / split / name / f"{number}.png", value)
    train, held_out = load_training_data(str(data))
    assert len(train) == 18 and len(held_out) == 12
    fit_command(small(data, known_classes="red,blue"), tmp_path / "run")
    assert "12 images of 2 known classes to train on, 8 held out for calibration" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["images"] == {"train": 12, "held_out": 8}


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


def test_evaluate_counts_other_classes_as_unknown(trained, pictures, tmp_path, capsys):
    file = tmp_path / "deep" / "result.json"
    result = evaluate_command(trained, str(pictures), json_file=file)
    written = json.loads(file.read_text())
    assert written == json.loads(json.dumps(result))
    assert written["images"] == {"known": 18, "unknown": 6, "unreadable": 0}
    assert written["accuracy"] == 1.0 and list(written["detectors"]) == [METHOD, *OURS] and written["left_out"] == {}
    for name in (METHOD, *OURS):
        entry = written["detectors"][name]
        assert entry.keys() >= FIGURES and all(0 <= entry[figure] <= 1 for figure in FIGURES)
    said = capsys.readouterr().out
    assert "18 known images, 6 unknown (grey)" in said and "max_logit*" in said


def test_evaluate_takes_the_split_and_the_detectors_asked_for(trained, pictures):
    result = evaluate_command(trained, str(pictures), split="train", detectors="energy, msp")
    assert result["images"]["known"] == 120 and set(result["detectors"]) == {"energy", "msp"}


def test_evaluate_with_detectors_of_pytorch_ood(trained, pictures, capsys):
    pytest.importorskip("pytorch_ood")
    result = evaluate_command(trained, str(pictures), detectors="vim,knn,openmax")
    assert list(result["detectors"]) == ["vim", "knn", "openmax"] and result["left_out"] == {}
    assert all(entry["auroc"] > 0.9 for entry in result["detectors"].values())
    capsys.readouterr()
    result = evaluate_command(trained, str(pictures), detectors="all")
    assert set(result["detectors"]) | set(result["left_out"]) == {METHOD, *OURS, *WRAPPED}
    said = capsys.readouterr().out
    assert "left out: mcd: looks at how dropout" in said and " vim " in said and "max_logit*" in said
    with pytest.raises(ValueError, match="mcd: looks at how dropout"):
        evaluate_command(trained, str(pictures), detectors="msp,mcd")
    with pytest.raises(ValueError, match="no detector 'kmm'; there are method, msp"):
        evaluate_command(trained, str(pictures), detectors="msp,kmm")


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


@pytest.mark.parametrize(("kept", "known", "unknown"), [("grey", 0, 12), ("red", 12, 0)])
def test_data_of_one_kind_alone_gives_null_and_no_error(trained, tmp_path, capsys, kept, known, unknown):
    value = (128, 128, 128) if kept == "grey" else (200, 40, 40)
    for number in range(12):
        colour(tmp_path / "test" / kept / f"{number}.png", value)
    result = evaluate_command(trained, str(tmp_path), json_file=tmp_path / "result.json")
    assert result["images"] == {"known": known, "unknown": unknown, "unreadable": 0}
    written = json.loads((tmp_path / "result.json").read_text())["detectors"]["msp"]
    assert written["auroc"] is None and written["oscr"] is None
    assert (result["accuracy"] is None) == (known == 0)
    assert ("No image of a known class" in capsys.readouterr().out) == (known == 0)


@pytest.mark.parametrize("content", [None, "", "[]", '{"seconds"'])
def test_evaluate_does_not_need_the_metrics_of_the_training(trained, pictures, tmp_path, content):
    import shutil

    run = shutil.copytree(trained, tmp_path / "run")
    (run / "metrics.json").unlink()
    if content is not None:
        (run / "metrics.json").write_text(content)
    assert evaluate_command(run, str(pictures), detectors="msp")["run"]["seconds"] is None


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


@pytest.mark.parametrize(("side", "expected"), [(20, 32), (40, 32), (60, 64), (100, 96), (128, 128), (300, 224)])
def test_the_size_follows_the_images(tmp_path, side, expected):
    for name in "ab":
        colour(tmp_path / name / "1.png", (9, 9, 9), (side + 30, side))
    assert auto_image_size(FolderSource(tmp_path)) == expected


def test_the_size_is_found_among_damaged_images(tmp_path):
    for number in range(40):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        colour(path, (9, 9, 9), (96, 100))
        if number % 2 == 0 or number < 30:
            path.write_bytes(b"")
    assert auto_image_size(FolderSource(tmp_path)) == 96
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 40 images can be read\. The first: .*0\.png: empty"):
        auto_image_size(FolderSource(tmp_path))


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
        match=r"cannot resume .*: data: .* -> 'digits'; .*model: 'compact-s' -> 'compact'; .*epochs: 6 -> None",
    ):
        check_out(trained, arguments, True)
    (tmp_path / "photo.png").touch()
    with pytest.raises(RunError, match="holds other things and no run to resume"):
        check_out(tmp_path, arguments, True)


def test_resume_of_nothing_begins_and_can_be_resumed(pictures, tmp_path):
    run = tmp_path / "run"
    arguments = small(pictures, known_classes="red,blue", epochs=2)
    report = fit_command(arguments, run, resume=True)
    assert len(report.history) == 2
    kept = (run / "model.safetensors").read_bytes()
    assert fit_command(arguments, run, resume=True).history == report.history
    assert (run / "model.safetensors").read_bytes() == kept


def test_a_training_cut_off_in_its_first_epoch_knows_its_options(pictures, tmp_path, monkeypatch):
    import backmix.commands

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(backmix.commands, "fit", stop)
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
