"""ARPL against loops over its definition."""

import math
from copy import deepcopy

import pytest
import torch

from backmix.methods.arpl import ARPL
from backmix.methods.network import Network
from backmix.models import create_backbone

FEATURES = torch.randn(6, 5, 3, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])


def make(radius=0.5, **options):
    torch.manual_seed(1)
    method = ARPL(5, 4, **options)
    torch.nn.init.normal_(method.points)  # Apart enough that the classes differ.
    torch.nn.init.constant_(method.radius, radius)
    return method


def slow_parts(method, features):
    """Squared distances, over the number of features, and dot products, which are not divided."""
    squared, dots = [], []
    for image in features.double():
        pooled = [sum(channel.flatten().tolist()) / channel.numel() for channel in image]
        points = method.points.tolist()
        squared.append([sum((f - p) ** 2 for f, p in zip(pooled, point)) / len(pooled) for point in points])
        dots.append([sum(f * p for f, p in zip(pooled, point)) for point in points])
    return squared, dots


def slow_loss(method, features, labels, weight):
    total = 0.0
    for squared, dots, label in zip(*slow_parts(method, features), labels.tolist()):
        logits = [s - d for s, d in zip(squared, dots)]
        total += math.log(sum(math.exp(z) for z in logits)) - logits[label]
        total += weight * max(0.0, squared[label] - method.radius.item() + 1)
    return total / len(labels)


def test_logits_against_a_loop():
    method = make()
    squared, dots = map(torch.tensor, slow_parts(method, FEATURES))
    assert (method.logits(FEATURES) - (squared - dots)).abs().max() < 1e-5


def test_only_the_squared_part_is_divided_by_the_features():
    """Every feature twice over: the squared part stays, the dot product doubles."""
    method, wide = make(), ARPL(10, 4)
    with torch.no_grad():
        wide.points.copy_(method.points.repeat(1, 2))
    squared, dots = map(torch.tensor, slow_parts(method, FEATURES))
    assert (wide.logits(FEATURES.repeat(1, 2, 1, 1)) - (squared - 2 * dots)).abs().max() < 1e-5


@pytest.mark.parametrize("radius", [0.0, 1.2, 5.0])
@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
def test_loss_against_a_loop(radius, weight):
    method = make(radius, weight=weight)
    assert method.loss(FEATURES, LABELS).item() == pytest.approx(slow_loss(method, FEATURES, LABELS, weight), abs=1e-5)


def test_the_margin_pushes_the_radius_up_until_all_images_are_inside():
    outside, inside = make(0.0), make(50.0)
    outside.loss(FEATURES, LABELS).backward()
    inside.loss(FEATURES, LABELS).backward()
    assert outside.radius.grad.item() == pytest.approx(-0.1) and inside.radius.grad.item() == 0


def test_unknown_score_is_minus_the_largest_logit():
    method = make()
    assert torch.equal(method.unknown_score(FEATURES), -method.logits(FEATURES).max(1).values)


def test_evidence_is_the_logit_of_the_label_at_each_cell():
    method = make()
    evidence = method.evidence(FEATURES, LABELS)
    assert evidence.shape == (6, 3, 4) and not evidence.requires_grad and evidence.dtype == torch.float32
    for b in range(6):
        cells = FEATURES[b].flatten(1).T[:, :, None, None]
        raw = method.logits(cells)[:, LABELS[b]].detach().reshape(3, 4)
        assert (evidence[b] - (raw - raw.min()) / (raw.max() - raw.min())).abs().max() < 1e-5


def test_points_start_small_and_the_radius_at_zero():
    torch.manual_seed(3)
    first = ARPL(400, 10)
    torch.manual_seed(3)
    assert torch.equal(ARPL(400, 10).points, first.points)
    assert first.points.shape == (10, 400) and first.points.std().item() == pytest.approx(0.1, rel=0.05)
    assert first.radius.shape == () and first.radius.item() == 0
    assert {name for name, _ in first.named_parameters()} == {"points", "radius"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ten_steps_lower_the_loss(precision):
    torch.manual_seed(0)
    backbone = create_backbone("compact-s", image_size=32, width=0.25)
    network = Network(backbone, ARPL(backbone.num_features, 3))
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


def test_half_precision_features_are_computed_in_float32():
    method = make()
    half = FEATURES.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(method.logits(half), method.logits(half.float()))
        assert torch.equal(method.loss(half, LABELS), method.loss(half.float(), LABELS))
        assert torch.equal(method.evidence(half, LABELS), method.evidence(half.float(), LABELS))


def test_weights_travel_into_a_fresh_instance():
    method, fresh = make(), ARPL(5, 4)
    fresh.load_state_dict(method.state_dict())
    assert torch.equal(fresh.loss(FEATURES, LABELS), method.loss(FEATURES, LABELS))
    assert torch.equal(deepcopy(method).loss(FEATURES, LABELS), method.loss(FEATURES, LABELS))


@pytest.mark.parametrize("weight", [-0.1, math.nan])
def test_weight_outside_its_range(weight):
    with pytest.raises(ValueError, match="arpl: weight is 0 or more; got"):
        ARPL(5, 4, weight=weight)


def test_bad_labels_and_features():
    for call in (make().loss, make().evidence):
        with pytest.raises(ValueError, match=r"arpl: labels must lie in 0\.\.3; got -1"):
            call(FEATURES, LABELS - 1)
        with pytest.raises(ValueError, match="arpl takes feature maps"):
            call(FEATURES.mean((2, 3)), LABELS)
    for call in (make().logits, make().unknown_score):
        with pytest.raises(ValueError, match="arpl takes feature maps"):
            call(FEATURES[:, :4])
