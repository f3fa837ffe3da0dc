"""ONNX files as models: any with a picture in and logits out."""

import numpy as np
import pytest
import torch

from backmix.audit.models.base import ModelOptions
from backmix.audit.models.onnx import load_onnx
from backmix.errors import DataError, RunError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

IMAGES = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
WEIGHTS = np.random.default_rng(0).normal(size=(768, 4)).astype(np.float32) / 30


def write(path, shape=("n", 3, 16, 16), kind=None, inputs=1):
    """Flatten and multiply."""
    helper, tensor = onnx.helper, onnx.TensorProto
    named = [helper.make_tensor_value_info(f"in{k}", kind or tensor.FLOAT, shape) for k in range(inputs)]
    nodes = [
        helper.make_node("Flatten", ["in0"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    weights = onnx.numpy_helper.from_array(WEIGHTS.astype(np.float64 if kind else np.float32), "w")
    out = helper.make_tensor_value_info("logits", kind or tensor.FLOAT, [shape[0], 4])
    graph = helper.make_graph(nodes, "g", named, [out], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("shape", [("n", 3, 16, 16), (1, 3, 16, 16), (2, 3, 16, 16), ("n", "c", "h", "w")])
def test_logits_of_any_batch(tmp_path, shape):
    options = ModelOptions(image_size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    model = load_onnx(write(tmp_path / "plain.onnx", shape), options)
    mean, std = torch.tensor(options.mean)[:, None, None], torch.tensor(options.std)[:, None, None]
    wanted = ((IMAGES.float() / 255 - mean) / std).flatten(1) @ torch.from_numpy(WEIGHTS)
    logits, score = model.answers(IMAGES)
    assert torch.allclose(logits, wanted, atol=1e-4) and score is None
    assert model.frame.image_size == 16 and model.names is None


def test_the_file_says_its_size(tmp_path):
    path = write(tmp_path / "plain.onnx")
    assert load_onnx(path, ModelOptions()).frame.image_size == 16
    with pytest.raises(DataError, match="takes images of 16x16 pixels; asked for is 32"):
        load_onnx(path, ModelOptions(image_size=32))


@pytest.mark.parametrize(
    "options", [{"shape": ("n", 12, 8, 8)}, {"shape": ("n", 768)}, {"inputs": 2}, {"kind": onnx.TensorProto.DOUBLE}]
)
def test_other_inputs_are_named(tmp_path, options):
    with pytest.raises(DataError, match="must have one input of float images") as caught:
        load_onnx(write(tmp_path / "other.onnx", **options), ModelOptions())
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_onnx_is_named_in_one_line(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"hello")
    with pytest.raises(DataError, match="cannot be loaded as ONNX") as caught:
        load_onnx(tmp_path / "no.onnx", ModelOptions())
    assert "\n" not in str(caught.value)


def test_a_file_of_ours_says_it_all(trained, tmp_path):
    from backmix import OpenSetClassifier
    from backmix.audit.models.run import RunModel
    from backmix.errors import RunError
    from backmix.export.module import describe, exported_model
    from backmix.export.program import capture
    from backmix.export.to_onnx import onnx_bytes

    classifier = OpenSetClassifier.load(trained)
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_bytes(capture(exported_model(classifier), 32), describe(classifier)))
    model, run = load_onnx(path, ModelOptions()), RunModel(trained, ModelOptions())
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for found, wanted in zip(model.answers(images), run.answers(images)):
        assert torch.allclose(found, wanted, atol=1e-4)
    assert model.names == run.names and model.score == run.score and model.frame == run.frame
    with pytest.raises(DataError, match="images of 32 pixels"):
        load_onnx(path, ModelOptions(image_size=64))
    altered = onnx.load(str(path))
    altered.metadata_props[0].value = "{}"
    onnx.save(altered, str(path))
    with pytest.raises(RunError, match="its description"):
        load_onnx(path, ModelOptions())


def test_of_a_file_that_claims_to_be_ours_onnxruntime_gets_nothing_unchecked(tmp_path, monkeypatch):
    import onnxruntime
    from crafted_onnx import outside, small_model

    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("it was given the file"))
    path = tmp_path / "model.onnx"
    path.write_bytes(small_model(extra=[outside("w", "elsewhere.bin")]).SerializeToString())
    with pytest.raises(RunError, match="keeps tensors in another file"):
        load_onnx(path, ModelOptions())
