"""The TorchScript file: answers, description, and no trace of Python."""

import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_files import calibrated, exported, some_images

from backmix.errors import RunError
from backmix.export.module import exported_model
from backmix.export.to_torchscript import answer, load_own, torchscript_bytes
from backmix.onnx_model.contract import Description


def test_it_answers_any_number_of_images():
    script, model = load_own(exported("torchscript")), exported_model(calibrated())
    for count in (1, 2, 5):
        images = some_images(count, 16, seed=count)
        found = answer(script, images.numpy())
        found.check(count, 3)
        with torch.no_grad():
            logits, scores, p_values, decisions = model(images)
        assert np.allclose(found.logits, logits, rtol=1e-5) and np.allclose(found.unknown_score, scores, rtol=1e-5)
        assert np.array_equal(found.p_value, p_values) and np.array_equal(found.decision, decisions)


def test_torch_alone_finds_the_description():
    files = {"backmix.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated.
        torch.jit.load(exported("torchscript"), _extra_files=files)
    assert Description.from_json(files["backmix.json"]).classes == ["class 0", "class 1", "class 2"]
    assert json.loads(files["backmix.json"])["detector"] == "max_logit"


def test_nothing_of_this_machine_is_in_it():
    with zipfile.ZipFile(exported("torchscript")) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            for word in (b"site-packages", str(Path.home()).encode(), str(Path.cwd()).encode()):
                assert word not in content


def test_an_operation_that_torchscript_lacks_is_said():
    class Wrapped(torch.nn.Module):
        def forward(self, images):
            return torch.ops.higher_order.cond(images.sum() > 0, lambda x: x + 1, lambda x: x - 1, (images,))

    program = torch.export.export(Wrapped(), (torch.zeros(2, 3),))
    with pytest.raises(RunError, match="cannot be written as TorchScript .*--format onnx"):
        torchscript_bytes(program, None)
