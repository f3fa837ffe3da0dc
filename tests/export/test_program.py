"""Operations spelled out for ONNX keep their last digits, and what cannot be written down is said."""

import math

import numpy as np
import pytest
import torch
from exported_files import calibrated
from hypothesis import given
from hypothesis import strategies as st

from backmix.errors import RunError
from backmix.export.module import exported_model
from backmix.export.program import capture, distances, expm1, log1p
from backmix.methods import Softmax


@given(st.floats(0, 1e300) | st.floats(0, 1e-12) | st.floats(-0.999999, 0))
def test_log1p_to_the_last_digits(x):
    assert math.isclose(float(log1p(torch.tensor(x, dtype=torch.float64))), math.log1p(x), rel_tol=4e-16)


@given(st.floats(-800, 700) | st.floats(-1e-9, 1e-9))
def test_expm1_to_the_last_digits(x):
    found = float(expm1(torch.tensor(x, dtype=torch.float64)))
    assert math.isclose(found, math.expm1(x), rel_tol=1e-14, abs_tol=5e-324)


def test_both_at_the_ends():
    ends = torch.tensor([0.0, math.inf, math.nan], dtype=torch.float64)
    assert torch.equal(log1p(ends).nan_to_num(7), torch.tensor([0.0, math.inf, math.nan]).double().nan_to_num(7))
    assert expm1(torch.tensor([0.0, -math.inf, math.inf, 1000.0])).tolist() == [0.0, -1.0, math.inf, math.inf]
    assert float(log1p(torch.tensor(-1.0))) == -math.inf


def test_float32_keeps_small_differences_too():
    x = torch.tensor([-1e-6, 3e-5, -0.25], dtype=torch.float32)
    assert np.allclose(expm1(x).double(), np.expm1(x.double().numpy()), rtol=3e-7)
    assert np.allclose(log1p(x).double(), np.log1p(x.double().numpy()), rtol=3e-7)


def test_distances_are_those_of_cdist():
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(5, 7, generator=random).double(), torch.randn(150, 7, generator=random).double()
    assert torch.allclose(distances(a, b), torch.cdist(a, b), rtol=1e-12)
    assert torch.equal(distances(a, a).diagonal(), torch.zeros(5).double())
    with pytest.raises(NotImplementedError, match="norm 1"):
        distances(a, b, p=1)


def test_the_graph_takes_any_number_of_images_and_notes_no_operation_that_would_round():
    classifier = calibrated(detector="msp")
    model = exported_model(classifier)
    program = capture(model, 16)
    told = {str(node.target) for node in program.graph.nodes}
    assert not told & {"aten.log1p.default", "aten.cdist.default"} and "aten.log.default" in told
    run = program.module()
    for count in (1, 2, 7):
        images = torch.full((count, 3, 16, 16), 30 * count, dtype=torch.uint8)
        assert all(torch.allclose(one, two) for one, two in zip(run(images), model(images), strict=True))


class Counting(Softmax):
    name = "counting"

    def unknown_score(self, features):
        return torch.from_numpy(np.array([len(features) for _ in features.detach().numpy()], np.float32))


def test_a_score_that_torch_cannot_follow_is_named_with_what_to_do():
    classifier = calibrated(detector="method")
    head = Counting(classifier.network.head.num_features, 3)
    head.load_state_dict(classifier.network.head.state_dict())
    classifier.network.method = head
    with pytest.raises(RunError, match="method counting cannot be exported.*calibrate RUN --detector max_logit"):
        capture(exported_model(classifier), 16)
