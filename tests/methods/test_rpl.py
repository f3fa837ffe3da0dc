"""RPL against loops over its definition."""

import math
from copy import deepcopy

import pytest
import torch

from backmix.detectors import MSP
from backmix.methods.network import Network
from backmix.methods.rpl import RPL
from backmix.models import create_backbone

FEATURES = torch.randn(6, 5, 3, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])


def make(**options):
    torch.manual_seed(1)
    method = RPL(5, 4, **options)
    torch.nn.init.normal_(method.points)  # Apart enough that the classes differ.
    torch.nn.init.constant_(method.radius, 0.3)
    return method


def slow_distances(method, features):
    rows = []
    for image in features.double():
        pooled = [sum(channel.flatten().tolist()) / channel.numel() for channel in image]
        row = []
        for points in method.points.tolist():
            each = [sum((f - p) ** 2 for f, p in zip(pooled, point)) / len(pooled) for point in points]
            row.append(sum(each) / len(each))
        rows.append(row)
    return rows


def slow_loss(method, features, labels, weight):
    total = 0.0
    for row, label in zip(slow_distances(method, features), labels.tolist()):
        total += math.log(sum(math.exp(d) for d in row)) - row[label]
        total += weight * (row[label] - method.radius.item()) ** 2
    return total / len(labels)


@pytest.mark.parametrize("per_class", [1, 3])
def test_logits_are_the_distances_of_a_loop(per_class):
    method = make(per_class=per_class)
    assert (method.logits(FEATURES) - torch.tensor(slow_distances(method, FEATURES))).abs().max() < 1e-5


@pytest.mark.parametrize("per_class", [1, 3])
@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
def test_loss_against_a_loop(per_class, weight):
    method = make(per_class=per_class, weight=weight)
    assert method.loss(FEATURES, LABELS).item() == pytest.approx(slow_loss(method, FEATURES, LABELS, weight), abs=1e-5)


def test_the_radius_is_learned_towards_the_mean_distance():
    method = make()
    method.loss(FEATURES, LABELS).backward()
    own = torch.tensor([row[k] for row, k in zip(slow_distances(method, FEATURES), LABELS.tolist())])
    assert method.radius.grad.item() == pytest.approx(0.2 * (0.3 - own.mean().item()), abs=1e-6)


def test_a_class_is_what_is_far_from_its_point():
    method = make()
    with torch.no_grad():
        method.points.copy_(torch.eye(5)[:4, None])
    away = -torch.eye(5)[:4, :, None, None]
    assert method.logits(away).argmax(1).tolist() == [0, 1, 2, 3]


def test_default_score_is_that_of_the_msp_detector():
    method = make()
    score = method.unknown_score(FEATURES)
    assert score.dtype == torch.float32 and torch.equal(score, MSP()(method.logits(FEATURES), None).float())
    assert torch.equal(score.argsort(), (-method.logits(FEATURES).softmax(1).amax(1)).argsort())


def test_confident_images_do_not_tie():
    method = make()
    with torch.no_grad():
        method.points.copy_(-20 * torch.eye(5)[:4, None])
    images = torch.stack([torch.eye(5)[0] * size for size in (4.0, 5.0, 6.0)])[:, :, None, None]
    assert (method.logits(images).softmax(1).amax(1) == 1).all()
    first, second, third = method.unknown_score(images)
    assert first > second > third > 0


def test_logit_score_is_minus_the_largest_distance():
    method = make(score="logit")
    assert torch.equal(method.unknown_score(FEATURES), -method.logits(FEATURES).max(1).values)


@pytest.mark.parametrize("per_class", [1, 2])
def test_evidence_is_the_logit_of_the_label_at_each_cell(per_class):
    method = make(per_class=per_class)
    evidence = method.evidence(FEATURES.clone().requires_grad_(), LABELS)
    assert evidence.shape == (6, 3, 4) and not evidence.requires_grad and evidence.dtype == torch.float32
    for b in range(6):
        cells = FEATURES[b].flatten(1).T[:, :, None, None]
        raw = method.logits(cells)[:, LABELS[b]].detach().reshape(3, 4)
        assert (evidence[b] - (raw - raw.min()) / (raw.max() - raw.min())).abs().max() < 1e-5


def test_points_start_small_and_the_radius_at_zero():
    torch.manual_seed(3)
    first = RPL(400, 10)
    torch.manual_seed(3)
    assert torch.equal(RPL(400, 10).points, first.points)
    assert first.points.shape == (10, 1, 400) and first.points.std().item() == pytest.approx(0.1, rel=0.05)
    assert first.radius.shape == () and first.radius.item() == 0
    assert {name for name, _ in first.named_parameters()} == {"points", "radius"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ten_steps_lower_the_loss(precision):
    torch.manual_seed(0)
    backbone = create_backbone("compact-s", image_size=32, width=0.25)
    network = Network(backbone, RPL(backbone.num_features, 3))
    images, labels = torch.randn(12, 3, 32, 32), torch.arange(12) % 3
    optimizer = torch.optim.SGD(network.parameters(), lr=2.0, momentum=0.9)  # Distances over C move slowly.
    losses = []
    for _ in range(11):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            _, loss = network(images, labels)
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_half_precision_features_are_computed_in_float32():
    method = make()
    half = FEATURES.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(method.logits(half), method.logits(half.float()))
        assert torch.equal(method.loss(half, LABELS), method.loss(half.float(), LABELS))


def test_weights_travel_into_a_fresh_instance():
    method, fresh = make(per_class=2), RPL(5, 4, per_class=2)
    fresh.load_state_dict(method.state_dict())
    assert torch.equal(fresh.loss(FEATURES, LABELS), method.loss(FEATURES, LABELS))
    assert torch.equal(deepcopy(method).loss(FEATURES, LABELS), method.loss(FEATURES, LABELS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -0.1}, "rpl: weight is 0 or more; got -0.1"),
        ({"weight": math.nan}, "rpl: weight"),
        ({"per_class": 0}, "rpl: per_class .* at least 1; got 0"),
        ({"score": "distance"}, "rpl: score is msp or logit; got 'distance'"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(ValueError, match=message):
        RPL(5, 4, **options)


def test_bad_labels_and_features():
    for call in (make().loss, make().evidence):
        with pytest.raises(ValueError, match=r"rpl: labels must lie in 0\.\.3; got -1"):
            call(FEATURES, LABELS - 1)
        with pytest.raises(ValueError, match="rpl takes feature maps"):
            call(FEATURES.mean((2, 3)), LABELS)
    for call in (make().logits, make().unknown_score):
        with pytest.raises(ValueError, match="rpl takes feature maps"):
            call(FEATURES[:, :4])
