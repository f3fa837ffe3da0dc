"""Every method and detector of ours in both formats, and no file where the answers differ."""

import os

import numpy as np
import pytest
from exported_files import calibrated, exported, made_trial, some_images

import backmix.export.export as module
from backmix.detectors import METHOD, OURS
from backmix.errors import RunError, TrainingError
from backmix.export.export import SUFFIXES, export
from backmix.methods import METHODS
from backmix.onnx_model.model import OnnxModel


def test_a_file_with_a_threshold_a_class_answers_as_the_classifier(tmp_path):
    classifier = calibrated(per_class=True, classes=2)
    trial = made_trial(16)
    agreement = export(classifier, tmp_path / "own.onnx", trial=trial)
    assert agreement.images == 16 and agreement.same_decisions >= 16 - agreement.close
    assert os.listdir(tmp_path) == ["own.onnx"]
    images = some_images(30, 16, seed=3)
    found = OnnxModel.load(tmp_path / "own.onnx").answer(images.numpy(), [str(number) for number in range(30)])
    assert [one.label for one in found] == [one.label for one in classifier.predict(images)]


def test_a_file_that_answers_otherwise_is_not_left_behind(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_text("the one before")
    other = exported().read_bytes()
    # A file of other weights, as a converter with a fault would write it.
    classifier = calibrated(method="gcpl", detector="max_logit")
    monkeypatch.setattr(module, "_content", lambda classifier, form: other)
    with pytest.raises(
        RunError, match=r"model\.onnx was not written, for .* the worst unknown score is .* Please report"
    ):
        export(classifier, path, trial=made_trial(16))
    assert os.listdir(tmp_path) == ["model.onnx"] and path.read_text() == "the one before"


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_content", lambda classifier, form: b"")
    (tmp_path / "file").write_text("")
    with pytest.raises((TrainingError, OSError)):
        export(calibrated(), tmp_path / "file" / "model.onnx", trial=made_trial(16))


def test_another_format(tmp_path):
    with pytest.raises(ValueError, match="formats of an export are onnx, torchscript; got 'tflite'"):
        export(calibrated(), tmp_path / "model", form="tflite", trial=made_trial(16))


def check(tmp_path, form, **options):
    classifier = calibrated(**options)
    path = tmp_path / f"model{SUFFIXES[form]}"
    agreement = export(classifier, path, form=form, trial=made_trial(classifier.preprocess.image_size))
    # Squared distances of made images are in the hundreds, of which float32 features give six digits.
    tolerance = 2e-3 if "shrunk_mahalanobis" in classifier.detector else 1e-4
    assert path.is_file() and agreement.score < tolerance and agreement.same_decisions >= 16 - agreement.close


@pytest.mark.slow
@pytest.mark.parametrize("form", SUFFIXES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method(tmp_path, method, form):
    check(tmp_path, form, method=method, detector=METHOD)


@pytest.mark.slow
@pytest.mark.parametrize("form", SUFFIXES)
@pytest.mark.parametrize("detector", OURS)
def test_every_detector_of_ours(tmp_path, detector, form):
    check(tmp_path, form, detector=detector, model="compact-s", size=32)


@pytest.mark.slow
@pytest.mark.parametrize("form", SUFFIXES)
@pytest.mark.parametrize(
    "model, size",
    [
        ("vgg32", 32),
        ("resnet18-small", 32),
        ("resnet10t", 64),
        ("convnext_atto", 64),
        ("deit_tiny_patch16_224", 64),
        ("swin_tiny_patch4_window7_224", 64),
    ],
)
def test_convolutional_networks_and_transformers(tmp_path, model, size, form):
    check(tmp_path, form, model=model, size=size, detector="energy")


def test_two_exports_of_one_run_are_the_same_bytes(tmp_path):
    export(calibrated(), tmp_path / "again.onnx", trial=made_trial(16))
    assert (tmp_path / "again.onnx").read_bytes() == exported().read_bytes()
    assert np.array_equal(made_trial(16).images, made_trial(16).images)
