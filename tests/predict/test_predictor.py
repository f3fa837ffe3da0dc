"""One face for runs and exported models, and torch for runs alone."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import backmix
from backmix.classifier import OpenSetClassifier
from backmix.errors import RunError
from backmix.predict.predictor import fingerprint, load_predictor


def images(number, size=32):
    return np.random.default_rng(number).integers(0, 256, (number, 3, size, size), dtype=np.uint8)


def test_a_run_answers_as_its_classifier_does(trained):
    predictor, classifier = load_predictor(trained), OpenSetClassifier.load(trained)
    assert list(predictor.classes) == ["blue", "green", "red"] and predictor.image_size == 32
    import torch

    expected = classifier.predict(torch.from_numpy(images(5)), top=2)
    answers = predictor.answer(images(5), ["a", "b", "c", "d", "e"], top=2)
    assert [answer.path for answer in answers] == ["a", "b", "c", "d", "e"]
    for answer, wanted in zip(answers, expected, strict=True):
        assert (answer.label, len(answer.top)) == (wanted.label, 2)
        assert answer.unknown_score == pytest.approx(wanted.unknown_score, abs=1e-5)


def test_images_need_not_lie_in_memory_as_their_axes_say(trained):
    predictor = load_predictor(trained)
    straight = images(4)
    turned = np.ascontiguousarray(straight.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    one, two = (predictor.answer(given, list("abcd"), top=1) for given in (straight, turned))
    for first, second in zip(one, two):
        assert first.label == second.label and first.unknown_score == pytest.approx(second.unknown_score, abs=1e-4)


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.PKL", "m.pickle", "m.ckpt", "m.bin", "m.joblib", "gone.pt"])
def test_what_may_hold_code_is_refused_unread(tmp_path, name):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    import pickle

    if not name.startswith("gone"):
        (tmp_path / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(RunError, match=r"may hold code.*Give the run folder, or the \.onnx file"):
        load_predictor(tmp_path / name)
    assert not marker.exists()


def test_a_run_may_be_called_anything(trained, tmp_path):
    for name in ("run.pt", "run.onnx"):
        (tmp_path / name).symlink_to(trained)
        assert load_predictor(tmp_path / name).image_size == 32


@pytest.mark.parametrize(("name", "message"), [("nowhere", "is not a folder"), ("empty", "has no config.yaml")])
def test_what_is_no_model(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=message):
        load_predictor(tmp_path / name)


def test_a_fingerprint_changes_with_what_decides(trained, tmp_path):
    classifier = OpenSetClassifier.load(trained)
    classifier.save(tmp_path / "same")
    classifier.save(tmp_path / "again")
    classifier.set_accept(0.5)
    classifier.save(tmp_path / "other")
    same, again, other = (fingerprint(tmp_path / name) for name in ("same", "again", "other"))
    assert same == again != other
    (tmp_path / "model.onnx").write_bytes(b"x")
    assert len(fingerprint(tmp_path / "model.onnx")) == 64
    with pytest.raises(RunError, match="cannot be read"):
        fingerprint(tmp_path / "gone.onnx")


def test_torch_is_not_needed_to_get_ready():
    code = """
import sys
from backmix.predict import predictor
from backmix.cli import predict as cli
from backmix.cli import predict_command
heavy = {"torch", "torchvision", "timm", "accelerate", "pyarrow", "sklearn", "matplotlib"}
print(sorted(heavy & sys.modules.keys()))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(backmix.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from backmix.cli.export_command import export_command

    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_command(trained, out=path)
    return path


def test_an_exported_model_answers_as_its_run_does(trained, exported):
    run, model = load_predictor(trained), load_predictor(exported)
    assert (list(model.classes), model.image_size) == (list(run.classes), run.image_size)
    names = list(map(str, range(20)))
    for one, two in zip(run.answer(images(20), names, top=2), model.answer(images(20), names, top=2), strict=True):
        assert (one.path, one.label, len(one.top)) == (two.path, two.label, len(two.top))
        assert one.unknown_score == pytest.approx(two.unknown_score, abs=1e-3)


def test_every_field_of_an_answer_is_filled_by_a_run_and_by_a_file(trained, exported):
    for path in (trained, exported):
        for answer in load_predictor(path).answer(images(2), ["a", "b"], top=2):
            empty = {name for name, value in vars(answer).items() if value in (None, [])}
            assert empty == {"error"}, path


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_exported_model_predicts_without_torch(exported, pictures, tmp_path, kind):
    code = """
import sys
sys.modules["torch"] = None
from backmix import cli
cli.main()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(backmix.__file__).parents[1])}
    out = tmp_path / f"answers.{kind}"
    command = [sys.executable, "-c", code, "predict", exported, pictures / "test", "--out", out]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "24 images answered" in done.stdout and len(out.read_text().splitlines()) == 24 + (kind == "csv")


@pytest.mark.parametrize("content", [b"", b"no model", b"\x80\x04K\x01."])
def test_a_file_that_is_no_onnx(tmp_path, content):
    pytest.importorskip("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(RunError, match=r"model\.onnx"):
        load_predictor(tmp_path / "model.onnx")
