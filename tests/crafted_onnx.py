"""The smallest file that passes for one of `backmix export`, and ways to spoil it."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from backmix.onnx_model.contract import KEY, Description


def description(**changes):
    """Two classes, 8 px."""
    entries = {
        "classes": ["a", "b"],
        "image_size": 8,
        "detector": "max_logit",
        "accept": 0.95,
        "threshold": 1.5,
        "held_out": 30,
        "class_thresholds": None,
        "model": "compact-s",
        "method": "softmax",
        "backmix": "0.1.0",
    }
    return Description(**{**entries, **changes})


def small_model(text=None, *, before=(), weights=((1.0, 0.0), (0.0, 1.0), (0.5, 0.5)), decision="best", extra=()):
    """A model of two classes: logits are mean colours times weights, the score minus the largest, p always 0.5.

    Args:
        text: its metadata entry; None: that of `description()`.
        before: nodes in front of the others.
        weights: (3, 2).
        decision: name of the tensor that decides.
        extra: further initializers.
    """
    node = helper.make_node
    nodes = [
        *before,
        node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        node("ReduceMean", ["pixels", "places"], ["colours"], keepdims=0),
        node("MatMul", ["colours", "weights"], ["logits"]),
        node("ReduceMax", ["logits", "last"], ["highest"], keepdims=0),
        node("Neg", ["highest"], ["lowest"]),
        node("Cast", ["lowest"], ["unknown_score"], to=TensorProto.DOUBLE),
        node("Mul", ["unknown_score", "zero"], ["nothing"]),
        node("Add", ["nothing", "half"], ["p_value"]),
        node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        node("Identity", [decision], ["decision"]),
    ]
    constants = {
        "places": np.array([2, 3]),
        "last": np.array([1]),
        "weights": np.array(weights, np.float32),
        "zero": np.array(0.0),
        "half": np.array(0.5),
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "small",
        [value("images", TensorProto.UINT8, ["batch", 3, 8, 8])],
        [
            value("logits", TensorProto.FLOAT, ["batch", 2]),
            value("unknown_score", TensorProto.DOUBLE, ["batch"]),
            value("p_value", TensorProto.DOUBLE, ["batch"]),
            value("decision", TensorProto.INT64, ["batch"]),
        ],
        [*(numpy_helper.from_array(array, name) for name, array in constants.items()), *extra],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {KEY: description().to_json() if text is None else text})
    return model


def changed_description(**changes):
    """The JSON of `description()` with entries set as they are, or left out where they are set to ...."""
    content = {**json.loads(description().to_json()), **changes}
    return json.dumps({key: value for key, value in content.items() if value is not ...})


def outside(name, location, shape=(3, 2)):
    """A tensor whose numbers lie in another file."""
    tensor = onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor
