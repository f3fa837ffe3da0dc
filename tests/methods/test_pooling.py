"""Squared distances against differences taken number by number; the layer behind pooling keeps float32."""

import pytest
import torch
from torch import nn

from backmix.methods import METHODS, TrainingBatch
from backmix.methods.pooling import cell_distance, mean_squared_distance, pooled_linear

GENERATOR = torch.Generator().manual_seed(0)
VECTORS, POINTS = torch.randn(6, 5, generator=GENERATOR), torch.randn(4, 5, generator=GENERATOR)


def slow(vector, point):
    return sum((f - p) ** 2 for f, p in zip(vector.tolist(), point.tolist())) / len(vector)


def test_vectors_against_a_loop():
    distances = mean_squared_distance(VECTORS, POINTS)
    expected = torch.tensor([[slow(v, p) for p in POINTS] for v in VECTORS])
    assert distances.dtype == torch.float32 and (distances - expected).abs().max() < 1e-5


def test_a_point_is_at_distance_zero_of_itself():
    assert mean_squared_distance(POINTS, POINTS).diagonal().abs().max() < 1e-6


def test_autocast_does_not_round_the_product():
    exact = mean_squared_distance(VECTORS + 10, POINTS + 10)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mean_squared_distance(VECTORS + 10, POINTS + 10), exact)


def test_gradient_is_twice_the_difference():
    vectors = VECTORS.clone().requires_grad_()
    mean_squared_distance(vectors, POINTS)[:, 2].sum().backward()
    assert torch.allclose(vectors.grad, 2 * (VECTORS - POINTS[2]) / 5, atol=1e-6)


def test_cells_against_a_loop():
    features = torch.randn(4, 5, 2, 3, generator=GENERATOR)
    before = features.clone()
    cells = cell_distance(features, POINTS.requires_grad_())
    assert cells.shape == (4, 2, 3) and not cells.requires_grad and torch.equal(features, before)
    for b in range(4):
        for y in range(2):
            for x in range(3):
                assert abs(cells[b, y, x].item() - slow(features[b, :, y, x], POINTS[b])) < 1e-5


# Far from 0, where bf16 has few digits left for what differs.
FEATURES = torch.randn(6, 5, 3, 4, generator=torch.Generator().manual_seed(0)) + 20
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])
LINEAR = ("softmax", "negcossch", "entropic", "objectosphere", "outlier-exposure", "rotation", "proser", "cac")


def make(name):
    torch.manual_seed(1)
    return METHODS[name](5, 4)


@pytest.mark.parametrize("bias", [True, False])
def test_against_a_loop(bias):
    torch.manual_seed(1)
    layer = nn.Linear(5, 4, bias=bias)
    found = pooled_linear(layer, FEATURES)
    for image, row in zip(FEATURES.double(), found.tolist(), strict=True):
        means = [sum(channel.flatten().tolist()) / 12 for channel in image]
        for k, z in enumerate(row):
            expected = sum(w * f for w, f in zip(layer.weight[k].tolist(), means, strict=True))
            assert z == pytest.approx(expected + (layer.bias[k].item() if bias else 0.0), abs=1e-4)


def test_a_layer_in_half_precision_is_applied_in_float32():
    layer = nn.Linear(5, 4).bfloat16()
    exact = nn.Linear(5, 4)
    exact.load_state_dict({name: value.float() for name, value in layer.state_dict().items()})
    assert torch.equal(pooled_linear(layer, FEATURES.bfloat16()), pooled_linear(exact, FEATURES.bfloat16().float()))


@pytest.mark.parametrize("name", LINEAR)
def test_half_precision_features_under_autocast_are_computed_in_float32(name):
    method, half = make(name), FEATURES.bfloat16()
    calls = [method.logits, method.unknown_score]
    calls += [getattr(method, call) for call in ("outlier_loss", "outlier_losses") if hasattr(method, call)]
    if name == "proser":
        calls.append(method._outputs)  # Its loss mixes feature maps, in their own precision.
    else:
        calls.append(lambda features: method.loss(features, LABELS))
    if name == "rotation":
        calls.append(lambda features: method.rotation_losses(features, LABELS))
    for call in calls:
        with torch.autocast("cpu", torch.bfloat16):
            found = call(half)
        assert found.dtype == torch.float32
        assert torch.allclose(found, call(half.float()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["softmax", "outlier-exposure", "entropic", "objectosphere", "negcossch"])
def test_so_is_the_loss_of_a_step_and_gradients_reach_half_precision_features(name):
    method = make(name)
    features = FEATURES.bfloat16().requires_grad_()
    losses = []
    for images in (features, features.detach().float()):
        batch = TrainingBatch(images, LABELS, outliers=images.flip(0) if method.uses_outliers else None)
        with torch.autocast("cpu", torch.bfloat16, enabled=images.dtype == torch.bfloat16):
            losses.append(method.training_loss(lambda images: images, batch)[1])
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    losses[0].backward()
    assert features.grad.dtype == torch.bfloat16 and features.grad.isfinite().all()
    assert method.head.weight.grad.dtype == torch.float32
