"""What a file says about itself: comes back as written, and nothing else is taken for it."""

import json
import math

import numpy as np
import pytest
from crafted_onnx import changed_description, description
from hypothesis import given
from hypothesis import strategies as st

from backmix.onnx_model.contract import Answers, Description

NAMES = st.lists(st.text(min_size=1).filter(lambda name: name != "unknown"), min_size=2, max_size=5, unique=True)


@given(NAMES, st.floats(allow_nan=False) | st.just(math.inf), st.booleans())
def test_a_description_comes_back_as_it_was_written(names, threshold, own):
    one = description(classes=names, threshold=threshold, class_thresholds=[None, *[threshold] * (len(names) - 1)])
    one = one if own else description(classes=names, threshold=threshold)
    text = one.to_json()
    assert Description.from_json(text) == one
    assert json.loads(text)["format"] == 1 and "central square" in json.loads(text)["resize"]


@pytest.mark.parametrize(
    "change, said",
    [
        ({"format": 2}, "export format 2, and this version reads 1"),
        ({"format": ...}, "no `format`"),
        ({"classes": ..., "accept": ...}, "lacks classes, accept"),
        ({"classes": ["a"]}, "classes in its description must be two or more"),
        ({"classes": ["a", "a"]}, "classes in its"),
        ({"classes": ["a", "unknown"]}, "classes in its"),
        ({"classes": ["a", 1]}, "classes in its"),
        ({"classes": "ab"}, "found 'ab'"),
        ({"classes": {"a": 1, "b": 2}}, "classes in its"),
        ({"image_size": 4}, "8 to 4096; found 4"),
        ({"image_size": 10**9}, "image_size"),
        ({"image_size": 32.5}, "image_size"),
        ({"image_size": True}, "image_size"),
        ({"accept": 1}, "accept"),
        ({"accept": "0.9"}, "accept"),
        ({"accept": math.nan}, "accept"),
        ({"threshold": "high"}, "threshold"),
        ({"threshold": math.nan}, "threshold"),
        ({"threshold": None}, "threshold"),
        ({"threshold": 10**400}, "threshold in its"),
        ({"threshold": True}, "threshold in its"),
        ({"held_out": 0}, "held_out"),
        ({"class_thresholds": [1.0]}, "2 classes and 1 thresholds"),
        ({"class_thresholds": [1.0, "x"]}, "class_thresholds"),
        ({"class_thresholds": [1.0, 10**400]}, "class_thresholds in its"),
        ({"detector": 7}, "detector"),
        ({"method": ["x" * 200]}, "xxx...$"),
    ],
)
def test_an_entry_that_makes_no_sense_is_named(change, said):
    with pytest.raises(ValueError, match=said):
        Description.from_json(changed_description(**change))


@pytest.mark.parametrize("text", ["", "[]", "{", "3", "[" * 100_000, '{"format": 1' + "0" * 10_000 + "}", "\x00"])
def test_what_is_no_description(text):
    with pytest.raises(ValueError, match="its description|export format"):
        Description.from_json(text)


def answers(**changes):
    right = {
        "logits": np.zeros((2, 3), np.float32),
        "unknown_score": np.zeros(2),
        "p_value": np.ones(2),
        "decision": np.array([-1, 2]),
    }
    return Answers(**{**right, **changes})


def test_answers_of_the_right_shape_pass():
    answers().check(2, 3)
    Answers(np.zeros((0, 3), np.float32), np.zeros(0), np.zeros(0), np.zeros(0, np.int64)).check(0, 3)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"logits": np.zeros((2, 4), np.float32)}, r"logits is \(2, 4\) float32; expected \(2, 3\) float32"),
        ({"unknown_score": np.zeros(2, np.float32)}, "unknown_score is .* float32; expected .* float64"),
        ({"p_value": [1.0, 1.0]}, "p_value is list"),
        ({"decision": np.array([0, 3])}, "decisions go from 0 to 3; there are 3 classes"),
        ({"decision": np.array([-2, 0])}, "go from -2"),
    ],
)
def test_other_answers_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        answers(**change).check(2, 3)
