"""Answers from an ONNX file without torch, and files that are not what they should be."""

import os
import pickle
import subprocess
import sys
from contextlib import suppress

import numpy as np
import onnx
import pytest
from crafted_onnx import changed_description, description, outside, small_model
from exported_files import calibrated, exported, some_images
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import backmix.onnx_model.model as onnx_model
from backmix.errors import DataError, RunError
from backmix.onnx_model.model import OnnxModel

node = helper.make_node


@pytest.fixture
def written(tmp_path):
    """Writes a model or bytes into a file."""

    def write(content):
        path = tmp_path / "model.onnx"
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        return path

    return write


def test_it_answers_as_the_classifier():
    model, classifier = OnnxModel.load(exported()), calibrated()
    assert (model.classes, model.image_size, model.accept) == (classifier.classes, 16, 0.8)
    assert model.detector == "max_logit" and model.description.held_out == 40
    images = some_images(70, 16, seed=3)  # More than it is asked at a time.
    names = [f"{number}.png" for number in range(70)]
    found, due = model.answer(images.numpy(), names, top=2), classifier.predict(images, top=2)
    assert [one.path for one in found] == names and {one.label for one in found} >= {"unknown", "class 1"}
    for one, other in zip(found, due, strict=True):
        assert one.label == other.label and one.unknown_score == pytest.approx(other.unknown_score, rel=1e-5)
        assert one.p_value == pytest.approx(other.p_value, abs=1 / 40) and one.error is None
        assert [name for name, _ in one.top] == [name for name, _ in other.top]
        assert [share for _, share in one.top] == pytest.approx([share for _, share in other.top], abs=1e-5)


def test_the_same_twice_and_one_by_one():
    model = OnnxModel.load(exported(), threads=1)
    images = some_images(5, 16).numpy()
    together = model.answer(images, list("abcde"))
    assert together == model.answer(images, list("abcde"))
    alone = [model.answer(images[k : k + 1], ["abcde"[k]])[0] for k in range(5)]
    assert [one.label for one in alone] == [one.label for one in together]
    assert [one.unknown_score for one in alone] == pytest.approx([one.unknown_score for one in together], rel=1e-5)


def test_no_image_and_more_classes_than_there_are():
    model = OnnxModel.load(exported())
    assert model.answer(np.zeros((0, 3, 16, 16), np.uint8), []) == []
    shares = model.answer(some_images(1, 16).numpy(), ["a"], top=99)[0].top
    assert sum(share for _, share in shares) == pytest.approx(1) and len(shares) == 3
    assert model.answer(some_images(1, 16).numpy(), ["a"], top=0)[0].top == []


def test_pictures_are_cut_and_resized_as_in_training():
    model, classifier = OnnxModel.load(exported()), calibrated()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8))
    pixels = model.decode(picture)
    assert pixels.dtype == np.uint8 and np.array_equal(pixels, classifier.preprocess.decode(picture).numpy())
    assert model.answer(pixels[None], ["a"])[0].label == classifier.predict([picture])[0].label


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 3, 16, 17), np.uint8), np.zeros((2, 3, 16, 16), np.float32), np.zeros((3, 16, 16), np.uint8)],
)
def test_images_of_another_shape(images):
    with pytest.raises(ValueError, match=r"images must be \(N, 3, 16, 16\) uint8; got"):
        OnnxModel.load(exported()).answer(images, ["a"] * len(images))


def test_as_many_names_as_images():
    with pytest.raises(ValueError, match="one name an image; got 1 for 2 images"):
        OnnxModel.load(exported()).answer(some_images(2, 16).numpy(), ["a"])


def test_torch_is_not_imported(written):
    code = """
import sys
import numpy as np
from backmix.onnx_model import OnnxModel
model = OnnxModel.load(sys.argv[1])
print(model.answer(np.zeros((2, 3, 16, 16), np.uint8), ["a", "b"])[1].path)
assert not {"torch", "timm", "onnx"} & set(sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code, exported()], capture_output=True, text=True, check=True)
    assert said.stdout == "b\n"


def test_without_onnxruntime_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RunError, match="pip install onnxruntime"):
        OnnxModel.load(exported())


def test_the_smallest_file_there_may_be(written):
    model = OnnxModel.load(written(small_model()))
    images = np.zeros((1, 3, 8, 8), np.uint8)
    images[0, 1] = 200
    answer = model.answer(images, ["green"])[0]
    assert (answer.label, answer.unknown_score, answer.p_value) == ("b", -200.0, 0.5)
    assert model.answer(images, ["green"], top=1)[0].top[0][0] == "b"


def test_a_decision_below_zero_is_unknown(written):
    never = numpy_helper.from_array(np.array([-1]), "never")
    before = [node("Shape", ["images"], ["sides"], end=1), node("Expand", ["never", "sides"], ["none"])]
    model = OnnxModel.load(written(small_model(before=before, extra=[never], decision="none")))
    assert [one.label for one in model.answer(np.zeros((2, 3, 8, 8), np.uint8), ["a", "b"])] == ["unknown"] * 2


# What loading must refuse, by what the error says.
def without(model, **changes):
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for name, value in changes.items():
        if name == "metadata":
            del model.metadata_props[:]
        elif name == "output":
            del model.graph.output[value]
        elif name == "opset":
            model.opset_import[0].version = value
        elif name == "batch":
            for end in (*model.graph.input, *model.graph.output):
                end.type.tensor_type.shape.dim[0].dim_value = value
        elif name == "side":
            model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = value
        elif name == "kind":
            model.graph.input[0].type.tensor_type.elem_type = value
    return model


CRAFTED = {
    "random bytes": (np.random.default_rng(0).bytes(5000), "not an ONNX model"),
    "nothing": (b"", "not an ONNX model"),
    "a pickle": (pickle.dumps(os.system), "not an ONNX model"),
    "half a file": (small_model().SerializeToString()[:300], "not an ONNX model"),
    "no description": (without(small_model(), metadata=None), "no description"),
    "another description": (small_model("{}"), "no `format`"),
    "more classes than logits": (small_model(changed_description(classes=["a", "b", "c"])), "3 classes, 8 px"),
    "another size": (small_model(changed_description(image_size=16)), "2 classes, 16 px"),
    "an enormous size": (small_model(changed_description(image_size=10**6)), "image_size"),
    "an enormous input": (without(small_model(), side=10**9), "images is tensor"),
    "a tensor in another file": (small_model(extra=[outside("w", "/etc/passwd")]), "in another file"),
    "an operator of others": (small_model(before=[node("X", [], ["x"], domain="evil")]), "operators of 'evil'"),
    "operators of tomorrow": (without(small_model(), opset=999), "does not take it"),
    "operators of yesterday": (without(small_model(), opset=1), "does not take it"),
    "an output too few": (without(small_model(), output=3), "inputs and outputs are images, logits"),
    "one image at a time": (without(small_model(), batch=1), "1 images at a time; expected any number"),
    "pixels as floats": (without(small_model(), kind=TensorProto.FLOAT), "must be tensor.uint8"),
    "weights that do not fit": (small_model(weights=((1.0, 0.0),) * 4), "does not take it"),
}


@pytest.mark.parametrize("what", CRAFTED)
def test_a_crafted_file_is_refused(written, what):
    content, said = CRAFTED[what]
    with pytest.raises(RunError, match=f"model.onnx is not used: .*{said}"):
        OnnxModel.load(written(content))


def test_what_is_no_file(tmp_path):
    with pytest.raises(RunError, match="cannot be read: No such file"):
        OnnxModel.load(tmp_path / "none.onnx")
    with pytest.raises(RunError, match="cannot be read|not a file"):
        OnnxModel.load(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.onnx")
        with pytest.raises(RunError, match="is not a file"):
            OnnxModel.load(tmp_path / "pipe.onnx")
    if os.path.exists("/dev/zero"):
        with pytest.raises(RunError, match="is not a file"):
            OnnxModel.load("/dev/zero")


def test_a_file_too_large_is_not_read(tmp_path):
    with open(tmp_path / "large.onnx", "wb") as file:
        file.truncate(2**31)  # It takes no room.
    with pytest.raises(RunError, match="has 2147483648 bytes; an ONNX file has at most"):
        OnnxModel.load(tmp_path / "large.onnx")


def test_a_file_that_fails_or_lies_when_it_is_asked(written):
    images, names = np.zeros((2, 3, 8, 8), np.uint8), ["a", "b"]
    nothing = small_model(weights=((np.nan, 0.0),) * 3)
    with pytest.raises(DataError, match="unknown score of a is not a number"):
        OnnxModel.load(written(nothing)).answer(images, names)
    twice = small_model(before=[node("Concat", ["best", "best"], ["more"], axis=0)], decision="more")
    twice.graph.node.insert(8, twice.graph.node[0])  # After "best".
    del twice.graph.node[0]
    twice.graph.node.insert(9, twice.graph.node[7])
    del twice.graph.node[7]
    with pytest.raises(RunError, match="cannot answer 2 images"):
        OnnxModel.load(written(twice)).answer(images, names)
    far = numpy_helper.from_array(np.array([7]), "far")
    before = [node("Shape", ["images"], ["sides"], end=1), node("Expand", ["far", "sides"], ["there"])]
    with pytest.raises(RunError, match="decisions go from 7 to 7; there are 2 classes"):
        OnnxModel.load(written(small_model(before=before, extra=[far], decision="there"))).answer(images, names)


BOMB = """
import sys
import numpy as np
import backmix.onnx_model.model as onnx_model
from backmix.errors import RunError
onnx_model.MEMORY = 200 * 2**20
try:
    onnx_model.OnnxModel.load(sys.argv[1]).answer(np.zeros((1, 3, 8, 8), np.uint8), ["a"])
except RunError as error:
    print(error)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="where Linux tells how much a process took")
@pytest.mark.parametrize("how", ["ConstantOfShape", "Expand", "Tile"])
def test_a_file_that_asks_for_gigabytes_is_stopped(written, how):
    sides = numpy_helper.from_array(np.array([20_000, 20_000]), "sides")  # 1.6 GB of float32.
    one = numpy_helper.from_array(np.ones((1, 1), np.float32), "one")
    fill = node(how, ["sides"] if how == "ConstantOfShape" else ["one", "sides"], ["much"])
    before = [fill, node("ReduceSum", ["much"], ["total"], keepdims=0)]
    model = small_model(before=before, extra=[sides, one])
    # Not left out as unused: it takes part in the logits.
    cast = next(part for part in model.graph.node if part.op_type == "MatMul")
    cast.input[0] = "scaled"
    at = list(model.graph.node).index(cast)
    model.graph.node.insert(at, node("Mul", ["colours", "total"], ["scaled"]))
    code = [sys.executable, "-c", BOMB, written(model)]
    said = subprocess.run(code, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "cannot answer 1 images" in said[0] and "1600000000" in said[0] and int(said[1]) < 600


def test_memory_is_limited_by_that_of_the_machine(monkeypatch):
    limits = []

    class Runtime:
        class OrtAllocatorType:
            ORT_ARENA_ALLOCATOR = 0

        class OrtMemType:
            DEFAULT = 0

        @staticmethod
        def OrtMemoryInfo(*rest):
            return rest

        @staticmethod
        def OrtArenaCfg(limit, *rest):
            return limit

        @staticmethod
        def create_and_register_allocator(place, limit):
            limits.append(limit)

    onnx_model._limit_memory.__wrapped__(Runtime)
    monkeypatch.setattr(onnx_model, "MEMORY", 1000)
    onnx_model._limit_memory.__wrapped__(Runtime)
    assert 2**27 < limits[0] <= 8 * 2**30 and limits[1] == 1000


GOOD = small_model().SerializeToString()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_spoiled_bytes_are_refused_or_answer(tmp_path_factory, changes):
    spoiled = bytearray(GOOD)
    for at, value in changes:
        spoiled[at] = value
    path = tmp_path_factory.getbasetemp() / "spoiled.onnx"
    path.write_bytes(spoiled)
    with suppress(RunError, DataError):
        OnnxModel.load(path).answer(np.zeros((1, 3, 8, 8), np.uint8), ["a"])


def test_the_description_of_a_crafted_file_is_read_as_it_is(written):
    name = '<b>"\n\u202e=1+1'
    text = description(classes=[name, "b"]).to_json()
    assert OnnxModel.load(written(small_model(text))).classes == [name, "b"]
