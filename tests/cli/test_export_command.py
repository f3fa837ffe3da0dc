"""`backmix export`: one file a run, and what it says of it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_folders import colour
from exported_files import calibrated
from PIL import Image, ImageOps

from backmix.classifier import OpenSetClassifier
from backmix.cli.export_command import check_out, export_command
from backmix.cli.predict_command import PredictArguments, predict_command
from backmix.data.images import open_photo
from backmix.data.photo import side_to_read
from backmix.errors import RunError
from backmix.onnx_model.contract import KEY, Description
from backmix.onnx_model.model import OnnxModel


@pytest.fixture(scope="module")
def exported_run(trained, tmp_path_factory):
    """A copy of the run with its file in it."""
    run = tmp_path_factory.mktemp("runs") / "exported"
    shutil.copytree(trained, run)
    export_command(run)
    return run


def test_the_file_stands_in_the_run_and_answers_as_it_does(exported_run, tmp_path):
    assert {"model.onnx"} == {name for name in os.listdir(exported_run) if name.endswith(".onnx")}
    colour(tmp_path / "red.png", (200, 40, 40), (70, 50))
    colour(tmp_path / "purple.png", (150, 20, 150), (31, 90))
    files = sorted(tmp_path.iterdir())
    model, classifier = OnnxModel.load(exported_run / "model.onnx"), OpenSetClassifier.load(exported_run)
    pixels = np.stack([model.decode(Image.open(file)) for file in files])
    found, due = model.answer(pixels, list(map(str, files))), classifier.predict(files)
    assert [(one.path, one.label) for one in found] == [(one.path, one.label) for one in due]
    scores = [one.unknown_score for one in due]
    assert [one.unknown_score for one in found] == pytest.approx(
        scores, rel=1e-4 if classifier.precision == "fp32" else 0.1
    )
    content = {entry.key: entry.value for entry in onnx.load(exported_run / "model.onnx").metadata_props}
    one = Description.from_json(content[KEY])
    assert (one.classes, one.image_size, one.model) == (["blue", "green", "red"], 32, "compact-s")
    assert one.threshold == classifier.thresholds["max_logit"].threshold and "format" in json.loads(content[KEY])


def test_the_examples_of_the_page_run_without_torch(exported_run, tmp_path):
    page = Path(__file__).parents[2] / "docs" / "export.md"
    alone, ours = re.findall(r"^```py\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    colour(tmp_path / "one.jpg", (200, 40, 40), (70, 50))
    colour(tmp_path / "two.png", (40, 190, 60), (31, 90))
    shutil.copy(exported_run / "model.onnx", tmp_path)
    classifier = OpenSetClassifier.load(exported_run)
    one, two = classifier.predict([tmp_path / "one.jpg", tmp_path / "two.png"])
    said = run_alone(alone, tmp_path, "backmix", "torch").splitlines()
    assert [line.split()[:2] for line in said] == [["one.jpg", one.label], ["two.png", two.label]]
    assert f"p-value {one.p_value:.3f}" in said[0]
    assert run_alone(ours, tmp_path, "torch", "onnx").split()[0] == one.label


def odd_pictures(folder):
    """Pictures of which a plain `convert("RGB")` makes others than `backmix predict` does."""
    folder.mkdir()
    y, x = np.mgrid[0:72, 0:48]
    disc = np.hypot(y - 20, x - 24) < 14
    clear = np.zeros((72, 48, 4), np.uint8)
    clear[disc] = (230, 160, 180, 255)
    Image.fromarray(clear).save(folder / "cut-out.png")
    Image.fromarray(clear[..., 2:]).save(folder / "grey-cut-out.png")
    Image.fromarray(clear).quantize(8).save(folder / "palette.png", transparency=0)
    grey = np.where(disc, 200, 40)
    for name, factor in (("16.png", 257), ("12.png", 16), ("dark.png", 1)):
        Image.fromarray((grey * factor).astype(np.uint16)).save(folder / name)
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(grey.astype(np.uint8)).save(folder / "turned.tif", exif=turned)
    Image.fromarray((grey * 257).astype(np.uint16)).save(folder / "turned.png", exif=turned)
    colours = np.dstack([grey, 255 - grey, grey]).astype(np.uint8)
    Image.fromarray(colours).save(folder / "turned.jpg", exif=turned, quality=95)
    Image.fromarray(colours).convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    large = Image.fromarray(colours).resize((301, 454))
    large.convert("L").save(folder / "large-grey.jpg", quality=95)
    large.convert("CMYK").save(folder / "large-cmyk.jpg", quality=95)
    large.save(folder / "large-of-a-phone.jpg", "MPO", save_all=True, append_images=[large], quality=95)
    for turned[274] in range(1, 9):
        large.save(folder / f"large-{turned[274]}.jpg", exif=turned, quality=95)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("ranges", [{}, {"uint16": (0.0, 4095.0)}])
def test_the_python_of_the_page_answers_as_predict_does(tmp_path, ranges):
    page = Path(__file__).parents[2] / "docs" / "export.md"
    alone = re.findall(r"^```py\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[0]
    classifier = calibrated(model="compact-s")
    classifier.value_ranges = ranges
    classifier.save(tmp_path / "run")
    export_command(tmp_path / "run", out=tmp_path / "model.onnx")
    files = odd_pictures(tmp_path / "odd")
    paths = [f"odd/{file.name}" for file in files]
    code, found = re.subn(r"(?m)^paths = .*$", f"paths = {paths!r}", alone)
    assert found == 1
    said = run_alone(code + "\nprint(json.dumps([score.tolist(), p_value.tolist()]))", tmp_path, "backmix", "torch")
    scores, p_values = json.loads(said.splitlines()[-1])
    out = tmp_path / "answers.json"
    predict_command(tmp_path / "model.onnx", [tmp_path / "odd"], PredictArguments(out=out))
    answers = {Path(row["path"]).name: row for row in json.loads(out.read_text())}
    assert [answers[file.name]["error"] for file in files] == [None] * len(files)
    due = [answers[file.name]["unknown_score"] for file in files]
    assert scores == pytest.approx(due, abs=1e-5)
    assert p_values == pytest.approx([answers[file.name]["p_value"] for file in files], abs=1e-6)
    assert len({round(score, 4) for score in scores}) > 5  # The pictures do not all look alike to it.


def test_the_python_of_the_page_sees_the_very_pixels_that_predict_sees(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "export.md"
    alone = re.findall(r"^```py\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[0]
    functions = alone[alone.index("def eight_bits") : alone.index("paths = ")]
    for decoding in (1, 2):
        about = {"value_ranges": {}, "decoding": decoding}
        there = {"np": np, "Image": Image, "ImageOps": ImageOps, "about": about, "size": 32}
        exec(functions, there)
        for file in odd_pictures(tmp_path / f"odd-{decoding}"):
            photo = open_photo(file, at_least=side_to_read(32, decoding))
            assert np.array_equal(there["pixels"](file), np.asarray(photo.square(32)).transpose(2, 0, 1)), file
            assert photo.scale == (4 if decoding == 2 and file.name.startswith("large") else 1)


def run_alone(code, folder, *absent):
    check = f"\nimport sys\nassert not {set(absent)} & set(sys.modules)\n"
    return subprocess.run(
        [sys.executable, "-c", code + check], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


def test_what_was_compared_is_said(trained, tmp_path, capsys):
    found = export_command(trained, form="torchscript", out=tmp_path / "deep" / "colours.pt")
    said = " ".join(capsys.readouterr().out.split())
    assert os.listdir(tmp_path / "deep") == ["colours.pt"]
    assert "compared with PyTorch on" in said and "made" in said and "in batches of 1, 2, " in said
    assert f"the decision is the same on {found.same_decisions} of {found.images}" in said
    assert "max_logit decides, one threshold for all, to accept 95% of known images; 3 classes, 32 px" in said
    assert "colours.pt (1." in said
    assert ("so close" in said) == bool(found.close)
    assert found.same_decisions >= found.images - found.close and found.score < 1e-3


def test_a_run_in_bf16_is_compared_in_float32_and_that_is_said(tmp_path, capsys):
    classifier = calibrated(model="compact-s")
    classifier.precision = "bf16"
    classifier.save(tmp_path / "run")
    found = export_command(tmp_path / "run", form="torchscript")
    said = " ".join(capsys.readouterr().out.split())
    assert "The file computes in float32" in said and "calibrated, in bf16" in said and found.score < 1e-5
    assert "compared on made images alone: " in said and "does not say which images it held out" in said


def test_a_run_without_a_threshold_is_refused_with_what_to_do(trained, tmp_path):
    classifier = OpenSetClassifier.load(trained)
    classifier.thresholds = {}
    classifier.save(tmp_path / "run")
    with pytest.raises(RunError, match="no threshold for max_logit.*Calibrate it first: backmix calibrate RUN"):
        export_command(tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.onnx"))


def test_where_a_file_cannot_be(tmp_path):
    assert check_out(tmp_path, "onnx", None) == tmp_path / "model.onnx"
    assert check_out(tmp_path, "torchscript", None) == tmp_path / "model.pt"
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ValueError, match="takes a file; .* is a folder"):
        check_out(tmp_path, "onnx", tmp_path / "folder.onnx")
    with pytest.raises(ValueError, match=r"--format onnx takes a \.onnx file; got .*model\.pt"):
        check_out(tmp_path, "onnx", tmp_path / "model.pt")
    with pytest.raises(ValueError, match="--format takes onnx or torchscript; got 'tflite'"):
        check_out(tmp_path, "tflite", None)
    with pytest.raises(RunError, match="a training's checkpoint"):
        check_out(tmp_path, "torchscript", tmp_path / "checkpoint.pt")


def test_what_is_no_run(tmp_path):
    with pytest.raises(RunError, match="is not a folder"):
        export_command(tmp_path / "none")
