"""What an ONNX file may hold: arithmetic and weights."""

import pickle
import struct

import numpy as np
import onnx
import pytest
from crafted_onnx import outside, small_model
from exported_files import exported
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import backmix.onnx_model.check as onnx_check
from backmix.onnx_model.check import OPERATORS, check_onnx

GOOD = small_model().SerializeToString()
node = helper.make_node


def test_the_metadata_of_a_good_file_comes_back():
    assert set(check_onnx(GOOD)) == {"backmix"}
    assert check_onnx(exported().read_bytes())["backmix"].startswith("{")


def test_all_operators_there_may_be_are_operators_of_onnx():
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert known >= OPERATORS
    assert not OPERATORS & {"Loop", "If", "Scan", "SequenceMap", "RandomNormal", "StringConcat", "Optional"}


def graph(*nodes):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    return helper.make_graph(nodes, "inner", ends[:1], ends[1:])


def with_function():
    model = small_model()
    body = [node("Add", ["a", "a"], ["b"])]
    model.functions.append(helper.make_function("", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 20)]))
    return model


def with_sparse():
    model = small_model()
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64)), [2**40])
    )
    return model


def with_training():
    model = small_model()
    model.training_info.add()
    return model


def constant(tensor):
    return small_model(before=[node("Constant", [], ["c"], value=tensor)])


def huge(*dims, **content):
    return TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=dims, **content)


CRAFTED = {
    "a tensor in another file": (small_model(extra=[outside("w", "/etc/passwd")]), "in another file"),
    "one above the folder": (small_model(extra=[outside("w", "../../secret")]), "in another file"),
    "one in a constant": (constant(outside("w", "/etc/passwd")), "in another file"),
    "a place without saying so": (
        small_model(extra=[TensorProto(name="w", external_data=outside("w", "x").external_data)]),
        "in another file",
    ),
    "operators of others": (
        small_model(before=[node("Evil", [], ["e"], domain="com.evil")]),
        "operators of 'com.evil'",
    ),
    "those of the runtime": (
        small_model(before=[node("FusedMatMul", ["weights", "weights"], ["e"], domain="com.microsoft")]),
        "operators of 'com.microsoft'",
    ),
    "an unknown operator": (small_model(before=[node("Evil", [], ["e"])]), "the operator 'Evil'"),
    "a loop": (
        small_model(before=[node("Loop", ["last", ""], ["l"], body=graph(node("Identity", ["x"], ["y"])))]),
        "the operator 'Loop'",
    ),
    "a graph in another operator": (
        small_model(before=[node("Identity", ["weights"], ["l"], body=graph(node("Identity", ["x"], ["y"])))]),
        "a graph within its graph",
    ),
    "a function": (with_function(), "functions"),
    "a sparse tensor": (with_sparse(), "sparse"),
    "a training graph": (with_training(), "a training graph"),
    "terabytes declared": (small_model(extra=[huge(2**20, 2**20)]), "larger than what it holds"),
    "a side below zero": (small_model(extra=[huge(-1, raw_data=b"1234")]), "larger than what it holds"),
    "nothing, but very wide": (small_model(extra=[huge(0, 2**62)]), "larger than what it holds"),
    "terabytes in a constant": (constant(huge(2**62, 4, raw_data=b"1234")), "larger than what it holds"),
    "very many sides": (small_model(extra=[huge(*[1] * 40, raw_data=b"1234")]), "larger than what it holds"),
}


@pytest.mark.parametrize("what", CRAFTED)
def test_what_is_more_than_arithmetic_is_refused(what):
    model, said = CRAFTED[what]
    with pytest.raises(ValueError, match=said):
        check_onnx(model.SerializeToString())


def field(number, content):
    return bytes([number << 3 | 2]) + _length(len(content)) + content


def _length(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "found 0 graphs"),
        (b"\x80\x02}q\x00.", "not an ONNX model"),
        (pickle.dumps({"weights": [1.0, 2.0]}), "not an ONNX model"),
        (b"PK\x03\x04" + bytes(100), "not an ONNX model"),
        (GOOD + GOOD, "two metadata entries|found 2 graphs"),
        (field(7, b"") + field(7, b""), "found 2 graphs"),
        (field(14, b"") + field(14, b""), "two metadata entries"),
        (b"\x38\x01", "not an ONNX model"),  # A graph that is a number.
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "not an ONNX model"),  # 2 ** 64 - 1 bytes of graph.
        (b"\xff" * 40, "not an ONNX model"),
        (field(7, field(1, field(4, b"\xff\xfe"))), "names that are no text"),
        (b"\x0b\x0c" + GOOD, "not an ONNX model"),  # A group, which no version of ONNX has.
        (struct.pack("<I", 8) + b"ORTM" + bytes(64), "not an ONNX model"),
    ],
)
def test_what_is_no_onnx_model(content, said):
    with pytest.raises(ValueError, match=said):
        check_onnx(content)


def test_very_many_parts_are_not_all_read(monkeypatch):
    monkeypatch.setattr(onnx_check, "MAX_FIELDS", 1000)
    with pytest.raises(ValueError, match="more parts than any network"):
        check_onnx(GOOD + b"\x10\x00" * 2000)


@given(st.integers(0, len(GOOD) - 1))
def test_a_file_that_was_cut_off(length):
    # What follows the last graph is metadata and the operator set, whose loss is told elsewhere.
    try:
        assert check_onnx(GOOD[:length]).keys() <= {"backmix"}
    except ValueError as error:
        assert "ONNX model" in str(error)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=20))
def test_spoiled_bytes_are_an_error_of_ours_or_none(changes):
    spoiled = bytearray(GOOD)
    for at, value in changes:
        spoiled[at] = value
    try:
        check_onnx(bytes(spoiled))
    except ValueError as error:
        assert str(error).startswith("it ")


@given(st.binary(max_size=200))
def test_random_bytes_are_no_model(content):
    with pytest.raises(ValueError):
        check_onnx(content)
