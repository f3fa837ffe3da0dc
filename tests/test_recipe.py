"""Options with their ranges, schedules at their corners, what the optimiser decays."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.network import create_network
from backmix.recipe import OPTIMIZERS, SCHEDULES, TrainOptions, make_optimizer, schedule_factor


@pytest.mark.parametrize(
    ("name", "progress", "expected"),
    [
        ("one-cycle", 0.0, 0.0),
        ("one-cycle", 0.1, 0.5),
        ("one-cycle", 0.2, 1.0),
        ("one-cycle", 0.6, 0.5),
        ("one-cycle", 1.0, 0.0),
        ("cosine", 0.0, 0.0),
        ("cosine", 0.2, 1.0),
        ("cosine", 0.6, 0.5),
        ("cosine", 0.4, (1 + math.cos(math.pi / 4)) / 2),
        ("cosine", 1.0, 0.0),
        ("step", 0.0, 0.0),
        ("step", 0.2, 1.0),
        ("step", 0.599, 1.0),
        ("step", 0.6, 0.1),
        ("step", 0.949, 0.1),
        ("step", 0.95, 0.01),
        ("step", 1.0, 0.01),
    ],
)
def test_schedules_at_their_corners(name, progress, expected):
    assert schedule_factor(name, progress, 0.2) == pytest.approx(expected, abs=1e-12)


@given(st.sampled_from(SCHEDULES), st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_schedules_stay_within_0_and_1(name, progress, warmup):
    assert -1e-9 <= schedule_factor(name, progress, warmup) <= 1 + 1e-9


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_without_warmup_begin_at_the_top(name):
    assert schedule_factor(name, 0.0, 0.0) == 1.0


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("lr", 0.0),
        ("lr", -0.1),
        ("lr", math.inf),
        ("lr", math.nan),
        ("optimizer", "adam"),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", -1e-4),
        ("weight_decay", math.nan),
        ("schedule", "linear"),
        ("warmup", 1.0),
        ("warmup", -0.1),
        ("ema", 1.0),
        ("ema", -0.5),
        ("precision", "fp16"),
        ("pad", 1.0),
        ("pad", -0.1),
        ("flip", 1.5),
        ("flip", -0.5),
        ("padding", "mirror"),
        ("clip", -1.0),
        ("zoom", 1.0),
        ("zoom", -0.1),
        ("jitter", 1.5),
        ("small", 1.5),
        ("small", -0.1),
    ],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(ValueError, match=rf"^{option} is .*; got {value!r}$"):
        TrainOptions(**{option: value})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_weight_is_trained_once_and_decay_is_for_matrices_and_kernels_alone(name):
    network = create_network("compact-s", "softmax", 3, image_size=32, model_options={"width": 0.25})
    network.backbone.stem[0].weight.requires_grad_(False)
    optimizer = make_optimizer(network, TrainOptions(optimizer=name, weight_decay=0.1, lr=0.3))
    trained = {id(p): p for p in network.parameters() if p.requires_grad}
    found = [(p, group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(id(p) for p, _ in found) == sorted(trained)
    assert all(decay == (0.1 if p.ndim > 1 else 0.0) for p, decay in found)
    assert all(group["lr"] == 0.3 for group in optimizer.param_groups)


def test_muon_moves_hidden_kernels_alone():
    network = create_network("compact-s", "softmax", 3, image_size=32, model_options={"width": 0.25})
    optimizer = make_optimizer(network, TrainOptions(optimizer="muon"))
    hidden = {id(p) for group in optimizer.param_groups if not group.get("use_fallback") for p in group["params"]}
    names = {name for name, p in network.named_parameters() if id(p) in hidden}
    assert names == {
        name for name, p in network.named_parameters() if p.ndim == 4 and not name.startswith("backbone.stem.0")
    }


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_takes_nesterov_steps(momentum):
    """Against the step written out: v <- m v + g, w <- w - lr (g + m v)."""
    network = torch.nn.Linear(2, 1, bias=False)
    weight = network.weight.detach().clone()
    optimizer = make_optimizer(network, TrainOptions(lr=0.1, momentum=momentum, weight_decay=0.0))
    velocity = torch.zeros(1, 2)
    for gradient in torch.randn(3, 1, 2):
        network.weight.grad = gradient.clone()
        optimizer.step()
        velocity = momentum * velocity + gradient
        weight = weight - 0.1 * (gradient + momentum * velocity)
    assert torch.allclose(network.weight, weight, atol=1e-6)
