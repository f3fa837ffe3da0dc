"""The ONNX file: what is in it, and what is not."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from exported_files import calibrated, exported, made_trial, some_images

import backmix.export.to_onnx as to_onnx
from backmix.errors import RunError
from backmix.export.export import export
from backmix.export.module import exported_model
from backmix.onnx_model.contract import OUTPUTS, Description
from backmix.threshold.conformal import ConformalThreshold


def test_one_file_with_named_ends_a_free_batch_and_a_description():
    path = exported()
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    ends = [*model.graph.input, *model.graph.output]
    assert [end.name for end in ends] == ["images", *OUTPUTS]
    assert {end.type.tensor_type.shape.dim[0].dim_param for end in ends} == {"batch"}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    assert Description.from_json({entry.key: entry.value for entry in model.metadata_props}["backmix"]).held_out == 40
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_nothing_of_this_machine_is_in_it():
    content = exported().read_bytes()
    for word in (b"site-packages", b"stack_trace", b".py", str(Path.home()).encode(), str(Path.cwd()).encode()):
        assert word not in content


def test_a_score_on_the_threshold_is_accepted_by_the_file_too(tmp_path):
    classifier = calibrated()
    images = some_images(9, 16, seed=5)
    found = onnxruntime.InferenceSession(exported()).run(["unknown_score"], {"images": images.numpy()})[0]
    # The scores that this very file gives, so that each image ties with one of them, and one with the threshold.
    classifier.thresholds = {"max_logit": ConformalThreshold.fit(torch.from_numpy(found), 0.5)}
    path = tmp_path / "ties.onnx"
    export(classifier, path, trial=made_trial(16))
    outputs = onnxruntime.InferenceSession(path).run(list(OUTPUTS), {"images": images.numpy()})
    scores, p_values, decisions = outputs[1:]
    assert np.array_equal(scores, found)
    rank = np.argsort(np.argsort(scores))
    assert np.array_equal(p_values, (1 + 9 - rank) / 10) and np.array_equal(decisions >= 0, rank <= 4)


def test_small_scores_of_a_confident_network_do_not_become_zero(tmp_path):
    classifier = calibrated(detector="msp")
    with torch.no_grad():
        classifier.network.head.head.weight.mul_(400)
    images = some_images(12, 16)
    with torch.no_grad():
        due = exported_model(classifier)(images)[1].numpy()
    classifier.thresholds = {"msp": ConformalThreshold.fit(torch.from_numpy(due), 0.8)}
    export(classifier, tmp_path / "sure.onnx", trial=made_trial(16))
    session = onnxruntime.InferenceSession(tmp_path / "sure.onnx")
    found = session.run(["unknown_score"], {"images": images.numpy()})[0]
    tiny = (due < 1e-17) & (due > 0)
    assert tiny.sum() > 2 and np.allclose(np.log(found[tiny]), np.log(due[tiny]), atol=0.01)


def test_an_operation_that_onnx_lacks_is_said(monkeypatch):
    class Bessel(torch.nn.Module):
        def forward(self, images):
            return torch.special.i1(images.float())

    program = torch.export.export(Bessel(), (torch.zeros(2, 3, dtype=torch.uint8),))
    with pytest.raises(RunError, match="cannot be written as ONNX .*bessel_i1.*torchscript"):
        to_onnx.onnx_bytes(program, None)


def test_more_than_two_gigabytes_are_said_before_they_are_written(monkeypatch):
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    monkeypatch.setattr(to_onnx, "MAX_BYTES", 20)
    with pytest.raises(RunError, match="one ONNX file holds 2. Export with --format torchscript"):
        to_onnx.onnx_bytes(program, None)


def test_packages_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr(to_onnx, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(RunError, match=r'no onnxscript, .*pip install "backmix\[export\]"'):
        to_onnx.need_onnx()
