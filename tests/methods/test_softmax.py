"""Softmax cross-entropy against loops over its definition."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.methods import Softmax
from backmix.methods.network import create_network

FEATURES = torch.randn(6, 5, 3, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])


def make(classes=4, **options):
    torch.manual_seed(1)
    return Softmax(5, classes, **options)


def slow_logits(method, features):
    """Pool and multiply, number by number."""
    weight, bias = method.head.weight.double(), method.head.bias
    rows = []
    for image in features.double():
        pooled = [sum(channel.flatten().tolist()) / channel.numel() for channel in image]
        row = []
        for k in range(len(weight)):
            row.append(sum(w * f for w, f in zip(weight[k].tolist(), pooled, strict=True)))
            row[-1] += bias[k].item() if bias is not None else 0.0
        rows.append(row)
    return rows


def slow_loss(method, features, labels, smoothing):
    total = 0.0
    rows = slow_logits(method, features)
    for row, label in zip(rows, labels.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(z) for z in row))
        for k, z in enumerate(row):
            target = 1 - smoothing if k == label else smoothing / (len(row) - 1)
            total -= target * (z - log_sum)
    return total / len(rows)


@pytest.mark.parametrize("bias", [True, False])
def test_logits_against_a_loop(bias):
    method = make(bias=bias)
    difference = method.logits(FEATURES).double() - torch.tensor(slow_logits(method, FEATURES), dtype=torch.float64)
    assert difference.abs().max() < 1e-6


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3, 0.75])
def test_loss_against_a_loop(smoothing):
    method = make(label_smoothing=smoothing)
    assert method.loss(FEATURES, LABELS).item() == pytest.approx(
        slow_loss(method, FEATURES, LABELS, smoothing), abs=1e-6
    )


@given(st.integers(2, 6), st.floats(0, 1, exclude_max=True), st.integers(0, 2**16))
@settings(max_examples=40)
def test_smoothing_is_exact_for_every_number_of_classes(classes, share, seed):
    smoothing = share * (classes - 1) / classes
    method = make(classes, label_smoothing=smoothing)
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(3, 5, 2, 2, generator=generator)
    labels = torch.randint(classes, (3,), generator=generator)
    assert method.loss(features, labels).item() == pytest.approx(
        slow_loss(method, features, labels, smoothing), abs=2e-6
    )


def test_loss_is_zero_entropy_at_certainty():
    method = make(2)
    with torch.no_grad():
        method.head.weight.zero_()
        method.head.bias.copy_(torch.tensor([100.0, -100.0]))
    assert method.loss(FEATURES, torch.zeros(6, dtype=torch.int64)).item() == pytest.approx(0, abs=1e-6)
    assert method.loss(FEATURES, torch.ones(6, dtype=torch.int64)).item() == pytest.approx(200)


def test_evidence_is_the_head_applied_at_each_cell():
    method = make()
    evidence = method.evidence(FEATURES, LABELS)
    assert evidence.shape == (6, 3, 4) and not evidence.requires_grad and evidence.dtype == torch.float32
    for b in range(6):
        weight = method.head.weight[LABELS[b]].detach()
        raw = [[max(0.0, float(weight @ FEATURES[b, :, y, x])) for x in range(4)] for y in range(3)]
        low, high = min(map(min, raw)), max(map(max, raw))
        expected = torch.tensor([[(value - low) / (high - low) for value in row] for row in raw])
        assert (evidence[b] - expected).abs().max() < 1e-6


def test_evidence_without_cut_and_scale_averages_to_the_logit():
    """The identity that the map rests on: the mean over cells of the head at each cell is the logit."""
    method = make(bias=False)
    cells = torch.einsum("bchw,kc->bkhw", FEATURES, method.head.weight)
    assert torch.allclose(cells.mean((2, 3)), method.logits(FEATURES), atol=1e-6)


def test_unknown_score_is_minus_the_largest_logit():
    method = make()
    assert torch.equal(method.unknown_score(FEATURES), -method.logits(FEATURES).max(1).values)


def test_pooled_is_the_mean_over_cells_in_float32():
    pooled = make().pooled(FEATURES.bfloat16())
    assert pooled.dtype == torch.float32 and (pooled - FEATURES.mean((2, 3))).abs().max() < 0.02


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_ten_steps_lower_the_loss(precision, smoothing):
    torch.manual_seed(0)
    network = create_network(
        "compact-s",
        "softmax",
        3,
        image_size=32,
        model_options={"width": 0.25},
        method_options={"label_smoothing": smoothing},
    )
    images, labels = torch.randn(12, 3, 32, 32), torch.arange(12) % 3
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(11):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            _, loss = network(images, labels)
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 2, 3, 4, 0]), r"0\.\.3; got 0\.\.4"),
        (torch.tensor([0, 1, -1, 3, 1, 0]), r"0\.\.3; got -1\.\.3"),
        (torch.tensor([0, 1]), r"\(6,\)"),
        (torch.zeros(6), "int64"),
        (torch.zeros(6, 1, dtype=torch.int64), r"\(6,\)"),
    ],
)
def test_labels_outside_the_range(labels, message):
    with pytest.raises(ValueError, match=message):
        make().loss(FEATURES, labels)
    with pytest.raises(ValueError, match=message):
        make().evidence(FEATURES, labels)


def test_features_that_were_pooled_already():
    with pytest.raises(ValueError, match="before pooling"):
        make().evidence(FEATURES.mean((2, 3)), LABELS)


@pytest.mark.parametrize("classes", [1, 0, -1])
def test_fewer_than_two_classes(classes):
    with pytest.raises(ValueError, match="at least two known classes"):
        Softmax(5, classes)


@pytest.mark.parametrize(("smoothing", "classes"), [(-0.1, 4), (1.0, 4), (math.nan, 4), (0.6, 2), (0.8, 4)])
def test_smoothing_outside_its_range(smoothing, classes):
    with pytest.raises(ValueError, match="label_smoothing"):
        Softmax(5, classes, label_smoothing=smoothing)
