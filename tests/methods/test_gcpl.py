"""GCPL against loops over its definition."""

import math
from copy import deepcopy

import pytest
import torch

from backmix.detectors import MSP
from backmix.methods.gcpl import COMBINATIONS, GCPL
from backmix.methods.network import Network
from backmix.models import create_backbone

FEATURES = torch.randn(6, 5, 3, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])


def make(**options):
    torch.manual_seed(1)
    method = GCPL(5, 4, **options)
    torch.nn.init.normal_(method.prototypes)  # Apart enough that the classes differ.
    return method


def slow_each(method, features):
    """Distances to all prototypes, [image][class][prototype]."""
    rows = []
    for image in features.double():
        pooled = [sum(channel.flatten().tolist()) / channel.numel() for channel in image]
        row = []
        for prototypes in method.prototypes.tolist():
            row.append([sum((f - p) ** 2 for f, p in zip(pooled, point)) / len(pooled) for point in prototypes])
        rows.append(row)
    return rows


def slow_distances(method, features):
    if method.combine == "mean":
        return [[sum(each) / len(each) for each in row] for row in slow_each(method, features)]
    return [[-math.log(sum(math.exp(-d) for d in each)) for each in row] for row in slow_each(method, features)]


def slow_loss(method, features, labels, weight):
    total = 0.0
    rows, each = slow_distances(method, features), slow_each(method, features)
    for row, prototypes, label in zip(rows, each, labels.tolist()):
        own = row[label] if method.combine == "mean" else min(prototypes[label])
        total += row[label] + math.log(sum(math.exp(-d) for d in row)) + weight / 2 * own
    return total / len(labels)


def test_defaults_are_those_of_the_release():
    method = GCPL(5, 4)
    assert (method.weight, method.score, method.combine, method.prototypes.shape) == (0.1, "msp", "mean", (4, 1, 5))


@pytest.mark.parametrize("per_class", [1, 3])
@pytest.mark.parametrize("combine", COMBINATIONS)
def test_logits_are_minus_the_distances_of_a_loop(per_class, combine):
    method = make(per_class=per_class, combine=combine)
    assert (method.logits(FEATURES) + torch.tensor(slow_distances(method, FEATURES))).abs().max() < 1e-5


@pytest.mark.parametrize("per_class", [1, 3])
@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("combine", COMBINATIONS)
def test_loss_against_a_loop(per_class, weight, combine):
    method = make(per_class=per_class, weight=weight, combine=combine)
    assert method.loss(FEATURES, LABELS).item() == pytest.approx(slow_loss(method, FEATURES, LABELS, weight), abs=1e-5)


def test_prototype_loss_is_half_the_mean_squared_difference():
    """As published, with one prototype: 0.1 * 0.5 * mean over images and features of (F - m_y)^2."""
    pooled = FEATURES.mean((2, 3))
    with_it, without = make(weight=0.1), make(weight=0.0)
    expected = 0.05 * torch.nn.functional.mse_loss(pooled, with_it.prototypes[LABELS, 0])
    assert (with_it.loss(FEATURES, LABELS) - without.loss(FEATURES, LABELS)).item() == pytest.approx(
        expected.item(), abs=1e-6
    )


def test_several_prototypes_are_one_at_their_centre_and_a_bias():
    several, one = make(per_class=3), make()
    with torch.no_grad():
        one.prototypes.copy_(several.prototypes.mean(1, keepdim=True))
    difference = several.logits(FEATURES) - one.logits(FEATURES)
    assert (difference - difference[:1]).abs().max() < 1e-5 and difference.max() < 0


def test_one_prototype_is_the_same_either_way():
    mean, logsumexp = (make(combine=combine) for combine in COMBINATIONS)
    assert torch.allclose(mean.logits(FEATURES), logsumexp.logits(FEATURES), atol=1e-6)
    assert torch.allclose(mean.loss(FEATURES, LABELS), logsumexp.loss(FEATURES, LABELS), atol=1e-6)
    assert torch.allclose(mean.evidence(FEATURES, LABELS), logsumexp.evidence(FEATURES, LABELS), atol=1e-5)


def test_a_class_in_two_places_is_near_either_with_logsumexp_and_between_them_with_the_mean():
    ends, middle = torch.zeros(2, 5, 1, 1), torch.zeros(1, 5, 1, 1)
    ends[0, 0], ends[1, 0] = 9.0, -9.0
    found = {}
    for combine in COMBINATIONS:
        method = make(per_class=2, combine=combine)
        with torch.no_grad():
            method.prototypes.zero_()
            method.prototypes[0, 0, 0], method.prototypes[0, 1, 0] = 9.0, -9.0
            method.prototypes[1:, :, 1] = 3.0
        found[combine] = [method.logits(images).argmax(1).tolist() for images in (ends, middle)]
    assert found["logsumexp"][0] == [0, 0] and found["logsumexp"][1] != [0]
    assert found["mean"][0] != [0, 0]


def test_evidence_of_several_places_weighs_prototypes_by_their_share_of_the_image():
    method = make(per_class=3, combine="logsumexp")
    evidence = method.evidence(FEATURES.clone().requires_grad_(), LABELS)
    assert evidence.shape == (6, 3, 4) and not evidence.requires_grad and evidence.dtype == torch.float32
    for b, row in enumerate(slow_each(method, FEATURES)):
        centres = []
        for each, points in zip(row, method.prototypes.tolist()):
            shares = [math.exp(-d) / sum(math.exp(-d) for d in each) for d in each]
            centres.append([sum(share * point[c] for share, point in zip(shares, points)) for c in range(5)])
        weight = torch.tensor(centres)[LABELS[b]] - torch.tensor(centres).mean(0)
        raw = torch.einsum("chw,c->hw", FEATURES[b], weight).clamp_min(0)
        assert (evidence[b] - (raw - raw.min()) / (raw.max() - raw.min())).abs().max() < 1e-4


def test_evidence_of_several_places_is_how_the_logit_changes_with_a_cell():
    method, features = make(per_class=3, combine="logsumexp"), FEATURES.clone().requires_grad_()
    logits = method.logits(features)
    image = torch.arange(6)
    (logits[image, LABELS] - logits.mean(1)).sum().backward()
    weight = features.grad[:, :, 0, 0]  # Pooling gives every cell the same gradient.
    raw = torch.einsum("bchw,bc->bhw", FEATURES, weight).clamp_min(0)
    low, high = raw.amin((1, 2), keepdim=True), raw.amax((1, 2), keepdim=True)
    assert torch.allclose(method.evidence(FEATURES, LABELS), (raw - low) / (high - low), atol=1e-4)


def test_default_score_is_that_of_the_msp_detector():
    method = make()
    score = method.unknown_score(FEATURES)
    assert score.dtype == torch.float32 and torch.equal(score, MSP()(method.logits(FEATURES), None).float())
    ranks = (-method.logits(FEATURES).softmax(1).amax(1)).argsort()
    assert torch.equal(score.argsort(), ranks)


def test_confident_images_do_not_tie():
    method = make()
    with torch.no_grad():
        method.prototypes.copy_(20 * torch.eye(5)[:4, None])
    images = torch.stack([torch.eye(5)[0] * size for size in (3.0, 4.0, 5.0)])[:, :, None, None]
    assert (method.logits(images).softmax(1).amax(1) == 1).all()
    first, second, third = method.unknown_score(images)
    assert first > second > third > 0


def test_distance_score_rejects_what_is_far_from_all_prototypes_and_the_default_does_not():
    near, far = torch.zeros(1, 5, 1, 1), torch.zeros(1, 5, 1, 1)
    near[0, 0], far[0, 0] = 1.0, 100.0
    by_distance, by_msp = make(score="distance"), make()
    with torch.no_grad():
        by_distance.prototypes.copy_(torch.eye(5)[:4, None])
        by_msp.prototypes.copy_(torch.eye(5)[:4, None])
    assert by_distance.unknown_score(far) > by_distance.unknown_score(near)
    assert by_msp.unknown_score(far) < by_msp.unknown_score(near)
    assert torch.equal(by_distance.unknown_score(FEATURES), by_distance.distances(FEATURES).amin(1))


@pytest.mark.parametrize("per_class", [1, 2])
def test_evidence_is_what_speaks_for_the_label_more_than_for_others(per_class):
    method = make(per_class=per_class)
    evidence = method.evidence(FEATURES.clone().requires_grad_(), LABELS)
    assert evidence.shape == (6, 3, 4) and not evidence.requires_grad and evidence.dtype == torch.float32
    for b in range(6):
        cells = FEATURES[b].flatten(1).T[:, :, None, None]
        # The label's logit less the mean of all, without what is the same at every cell, and nothing below 0.
        logits, empty = method.logits(cells).detach(), method.logits(torch.zeros_like(cells)).detach()
        raw = (logits - empty)[:, LABELS[b]] - (logits - empty).mean(1)
        raw = raw.clamp_min(0).reshape(3, 4)
        assert (evidence[b] - (raw - raw.min()) / (raw.max() - raw.min())).abs().max() < 1e-4


def test_prototypes_start_small_and_follow_the_seed():
    torch.manual_seed(3)
    first = GCPL(400, 10).prototypes
    torch.manual_seed(3)
    assert torch.equal(GCPL(400, 10).prototypes, first)
    assert first.shape == (10, 1, 400) and first.std().item() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ten_steps_lower_the_loss(precision):
    torch.manual_seed(0)
    backbone = create_backbone("compact-s", image_size=32, width=0.25)
    network = Network(backbone, GCPL(backbone.num_features, 3))
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


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_half_precision_features_are_computed_in_float32(combine):
    method = make(per_class=2, combine=combine)
    half = FEATURES.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(method.logits(half), method.logits(half.float()))
        assert torch.equal(method.loss(half, LABELS), method.loss(half.float(), LABELS))
        assert torch.equal(method.evidence(half, LABELS), method.evidence(half.float(), LABELS))


def test_weights_travel_into_a_fresh_instance():
    method, fresh = make(per_class=2), GCPL(5, 4, per_class=2)
    fresh.load_state_dict(method.state_dict())
    assert torch.equal(fresh.unknown_score(FEATURES), method.unknown_score(FEATURES))
    assert torch.equal(deepcopy(method).loss(FEATURES, LABELS), method.loss(FEATURES, LABELS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -0.1}, "gcpl: weight is 0 or more; got -0.1"),
        ({"weight": math.nan}, "gcpl: weight"),
        ({"per_class": 0}, "gcpl: per_class .* at least 1; got 0"),
        ({"score": "logit"}, "gcpl: score is msp or distance; got 'logit'"),
        ({"combine": "sum"}, "gcpl: combine is mean or logsumexp; got 'sum'"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(ValueError, match=message):
        GCPL(5, 4, **options)


def test_bad_labels_and_features():
    for call in (make().loss, make().evidence):
        with pytest.raises(ValueError, match=r"gcpl: labels must lie in 0\.\.3; got -1"):
            call(FEATURES, LABELS - 1)
        with pytest.raises(ValueError, match="gcpl takes feature maps"):
            call(FEATURES.mean((2, 3)), LABELS)
    for call in (make().logits, make().unknown_score):
        with pytest.raises(ValueError, match="gcpl takes feature maps"):
            call(FEATURES[:, :4])
