"""Options with their ranges, schedules at their corners, what the optimiser decays."""

import json
import math
import re
from dataclasses import asdict, replace

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from backmix.methods.network import create_network
from backmix.train.recipe import (
    OPTIMIZERS,
    SCHEDULES,
    TrainOptions,
    make_optimizer,
    make_schedule,
    schedule_factor,
    with_defaults,
)


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
        ("cosine-restarts", 0.0, 0.001),
        ("cosine-restarts", 0.1, (0.001 + 0.001 + 0.999 * (1 + math.cos(0.6 * math.pi)) / 2) / 2),
        ("cosine-restarts", 0.2, 0.001 + 0.999 * (1 + math.cos(0.6 * math.pi)) / 2),
        ("cosine-restarts", 1 / 3 - 1e-9, 0.001),
        ("cosine-restarts", 1 / 3, 1.0),
        ("cosine-restarts", 0.5, 0.5005),
        ("cosine-restarts", 2 / 3, 1.0),
        ("cosine-restarts", 1.0, 0.001),
    ],
)
def test_schedules_at_their_corners(name, progress, expected):
    assert schedule_factor(name, progress, 0.2) == pytest.approx(expected, abs=1e-12)


@given(st.sampled_from(SCHEDULES), st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_schedules_stay_within_0_and_1(name, progress, warmup):
    assert -1e-9 <= schedule_factor(name, progress, warmup) <= 1 + 1e-9


def test_restarts_against_torch():
    """Epoch by epoch without a warm-up; torch starts the next period where ours ends the last."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=200, eta_min=1e-4)
    schedule = make_schedule(TrainOptions(schedule="cosine-restarts", warmup=0.0, restarts=2, lowest=1e-3))
    for epoch in range(600):
        scheduler.step(epoch)
        assert 0.1 * schedule(epoch / 600) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)


def test_the_closed_set_papers_rise_ends_on_the_curve_of_the_first_period():
    """Ten of 600 epochs, linear from the lowest rate to where the cosine of 200 epochs stands by then."""
    options = TrainOptions(schedule="cosine-restarts", warmup=10 / 600, restarts=2, lowest=1e-3)
    rates = [make_schedule(options)(epoch / 600) for epoch in range(12)]
    top = 0.001 + 0.999 * (1 + math.cos(math.pi * 10 / 200)) / 2
    assert rates[:11] == pytest.approx([0.001 + (top - 0.001) * epoch / 10 for epoch in range(11)])
    assert rates[11] == pytest.approx(0.001 + 0.999 * (1 + math.cos(math.pi * 11 / 200)) / 2)


def test_milestones_restarts_and_lowest_are_those_of_the_options():
    step = make_schedule(TrainOptions(schedule="step", warmup=0.0, milestones=(0.1, 0.2, 0.3)))
    assert [step(share) for share in (0.0, 0.1, 0.2, 0.3)] == pytest.approx([1, 0.1, 0.01, 0.001])
    assert make_schedule(TrainOptions(schedule="step", warmup=0.0, milestones=()))(1.0) == 1.0
    restarts = make_schedule(TrainOptions(schedule="cosine-restarts", warmup=0.0, restarts=0, lowest=0.25))
    assert [restarts(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.625, 0.25])


@pytest.mark.parametrize("epochs", [200, 7])
def test_cssr_falls_at_epochs_120_and_190_of_200(epochs):
    schedule = make_schedule(TrainOptions(schedule="step", warmup=0.0))
    factors = [schedule((epoch + 0.5) / epochs) for epoch in range(epochs)]
    expected = [
        1.0 if epoch < 0.6 * epochs - 0.5 else 0.1 if epoch < 0.95 * epochs - 0.5 else 0.01 for epoch in range(epochs)
    ]
    assert factors == expected
    assert epochs != 200 or (factors.index(0.1), factors.index(0.01)) == (120, 190)


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
        ("milestones", (0.5, 0.4)),
        ("milestones", (0.5, 0.5)),
        ("milestones", (0.0, 0.5)),
        ("milestones", (0.5, 1.0)),
        ("milestones", 0.5),
        ("milestones", ("0.5",)),
        ("restarts", -1),
        ("restarts", 0.5),
        ("lowest", -0.1),
        ("lowest", 1.5),
    ],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(ValueError, match=rf"^{option} is .*; got {re.escape(repr(value))}$"):
        TrainOptions(**{option: value})


@pytest.mark.parametrize(
    "read", [lambda given: json.loads(json.dumps(given)), lambda given: yaml.safe_load(yaml.safe_dump(given))]
)
def test_options_come_back_from_files(read):
    options = TrainOptions(milestones=(0.25, 0.5), schedule="step", nesterov=False, compile=True)
    assert TrainOptions(**read(asdict(options))) == options
    assert replace(options, milestones=[0.25, 0.5]) == options
    assert read(options.to_dict()) == options.to_dict() and TrainOptions(**options.to_dict()) == options


def test_options_of_an_older_file_stand_at_their_defaults():
    old = {
        name: value for name, value in TrainOptions(lr=0.5).to_dict().items() if name not in ("nesterov", "milestones")
    }
    assert with_defaults(old) == TrainOptions(lr=0.5).to_dict()
    assert with_defaults({"nesterov": False})["nesterov"] is False


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


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_everything_decays_if_asked(name):
    network = create_network("compact-s", "softmax", 3, image_size=32, model_options={"width": 0.25})
    optimizer = make_optimizer(network, TrainOptions(optimizer=name, weight_decay=0.1, decay_all=True))
    assert all(group["weight_decay"] == 0.1 for group in optimizer.param_groups)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_against_its_steps_written_out(momentum, nesterov):
    """v <- m v + g, then w <- w - lr (g + m v) looking ahead, w <- w - lr v otherwise."""
    network = torch.nn.Linear(2, 1, bias=False)
    weight = network.weight.detach().clone()
    optimizer = make_optimizer(network, TrainOptions(lr=0.1, momentum=momentum, nesterov=nesterov, weight_decay=0.0))
    velocity = torch.zeros(1, 2)
    for gradient in torch.randn(3, 1, 2):
        network.weight.grad = gradient.clone()
        optimizer.step()
        velocity = momentum * velocity + gradient
        weight = weight - 0.1 * (gradient + momentum * velocity if nesterov else velocity)
    assert torch.allclose(network.weight, weight, atol=1e-6)
