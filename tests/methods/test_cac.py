"""CAC against loops over its definition."""

import math
from copy import deepcopy

import pytest
import torch

from backmix.methods.cac import CAC
from backmix.methods.network import Network
from backmix.models import create_backbone

FEATURES = torch.randn(6, 5, 3, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])


def make(**options):
    torch.manual_seed(1)
    method = CAC(5, 4, **options)
    torch.nn.init.normal_(method.head.weight, 0, 3)
    torch.nn.init.normal_(method.head.bias)
    return method


def slow_outputs(method, features):
    """The linear layer on pooled features, number by number."""
    rows = []
    for image in features.double():
        pooled = [sum(channel.flatten().tolist()) / channel.numel() for channel in image]
        weights = zip(method.head.weight.tolist(), method.head.bias.tolist())
        rows.append([sum(w * f for w, f in zip(row, pooled)) + bias for row, bias in weights])
    return rows


def slow_distances(method, features, centres):
    return [
        [math.sqrt(sum((z - c) ** 2 for z, c in zip(row, centre))) for centre in centres]
        for row in slow_outputs(method, features)
    ]


def axes(alpha, classes=4):
    return [[alpha if j == k else 0.0 for j in range(classes)] for k in range(classes)]


def test_defaults_are_those_of_the_paper():
    method = CAC(5, 4)
    assert method.weight == 0.1 and torch.equal(method.anchors, 10 * torch.eye(4))


@pytest.mark.parametrize("alpha", [10.0, 3.0])
def test_logits_are_minus_the_distances_of_a_loop(alpha):
    method = make(alpha=alpha)
    difference = method.logits(FEATURES) + torch.tensor(slow_distances(method, FEATURES, axes(alpha)))
    assert difference.abs().max() < 1e-5


@pytest.mark.parametrize(("alpha", "weight"), [(10.0, 0.1), (10.0, 0.0), (3.0, 2.0)])
def test_loss_against_a_loop(alpha, weight):
    method = make(alpha=alpha, weight=weight)
    total = 0.0
    for row, y in zip(slow_distances(method, FEATURES, axes(alpha)), LABELS.tolist()):
        total += math.log(1 + sum(math.exp(row[y] - d) for k, d in enumerate(row) if k != y)) + weight * row[y]
    assert method.loss(FEATURES, LABELS).item() == pytest.approx(total / 6, abs=1e-5)


def test_unknown_score_against_a_loop():
    method = make()
    expected = []
    for row in slow_distances(method, FEATURES, axes(10.0)):
        total = sum(math.exp(-d) for d in row)
        expected.append(min(d * (1 - math.exp(-d) / total) for d in row))
    score = method.unknown_score(FEATURES)
    assert score.dtype == torch.float32 and (score - torch.tensor(expected)).abs().max() < 1e-5


def with_outputs(outputs):
    """A method whose z are the features themselves."""
    method = CAC(4, 4)
    with torch.no_grad():
        method.head.weight.copy_(torch.eye(4))
    return method, torch.tensor(outputs)[:, :, None, None]


def test_confident_images_do_not_tie():
    method, features = with_outputs([[30.0 + step, 0.0, 0.0, 0.0] for step in (0, 1, 2)])
    distances = -method.logits(features)
    assert (distances * (1 - distances.neg().softmax(1))).amin(1).tolist() != method.unknown_score(features).tolist()
    assert len(set(method.unknown_score(features).tolist())) == 3 and (method.unknown_score(features) > 0).all()


def test_far_away_and_in_between_are_unknown():
    method, features = with_outputs([[9.0, 0.0, 0.0, 0.0], [5.0, 5.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    known, between, nowhere = method.unknown_score(features)
    assert known < 0.01 and between > 1 and nowhere > between


def test_gradient_at_the_anchor_is_finite():
    method, features = with_outputs([[10.0, 0.0, 0.0, 0.0]])
    features.requires_grad_()
    method.loss(features, torch.tensor([0])).backward()
    assert features.grad.isfinite().all() and method.head.weight.grad.isfinite().all()


def batches():
    generator = torch.Generator().manual_seed(5)
    return [
        (torch.randn(8, 5, 2, 2, generator=generator), torch.randint(0, 3, (8,), generator=generator))
        for _ in range(12)
    ]


def test_learn_moves_centres_to_the_means_of_what_is_classified_correctly():
    method = make()
    data = batches()
    rows = [[] for _ in range(4)]
    for features, labels in data:
        for z, y in zip(slow_outputs(method, features), labels.tolist()):
            if z.index(max(z)) == y:
                rows[y].append(z)
    assert all(rows[:3]) and sum(map(len, rows)) < 96, "some right in classes 0..2, some wrong"
    method.learn(lambda: iter(data))
    for k in range(3):
        mean = [sum(column) / len(column) for column in zip(*rows[k])]
        assert (method.centres[k] - torch.tensor(mean)).abs().max() < 1e-5
    assert torch.equal(method.centres[3], method.anchors[3]), "no image of class 3: its anchor stays"
    assert torch.equal(method.anchors, 10 * torch.eye(4))
    expected = slow_distances(method, FEATURES, method.centres.tolist())
    assert (method.logits(FEATURES) + torch.tensor(expected)).abs().max() < 1e-5


def test_learn_changes_neither_the_loss_nor_itself_when_repeated():
    method = make()
    before = method.loss(FEATURES, LABELS).item()
    method.learn(batches)
    once = method.centres.clone()
    method.learn(batches)
    assert torch.equal(method.centres, once) and method.loss(FEATURES, LABELS).item() == before
    assert CAC.needs_statistics and not method.centres.requires_grad


def test_learn_takes_features_made_in_inference_mode():
    method, expected = make(), make()

    @torch.inference_mode()
    def inferred():
        for features, labels in batches():
            yield features.clone(), labels.clone()

    method.learn(inferred)
    expected.learn(batches)
    assert torch.equal(method.centres, expected.centres) and not method.centres.is_inference()


@pytest.mark.parametrize("learned", [False, True])
def test_evidence_is_what_speaks_for_the_label_more_than_for_others(learned):
    method = make()
    if learned:
        method.learn(batches)
    evidence = method.evidence(FEATURES, LABELS)
    assert evidence.shape == (6, 3, 4) and not evidence.requires_grad and evidence.dtype == torch.float32
    for b in range(6):
        cells = FEATURES[b].flatten(1).T[:, :, None, None]
        # Minus the squared distance to the label's centre less the mean of all, without what is the same at every
        # cell, and nothing below 0.
        logits, empty = -(method.logits(cells).detach() ** 2), -(method.logits(torch.zeros_like(cells)).detach() ** 2)
        raw = (logits - empty)[:, LABELS[b]] - (logits - empty).mean(1)
        raw = raw.clamp_min(0).reshape(3, 4)
        assert (evidence[b] - (raw - raw.min()) / (raw.max() - raw.min())).abs().max() < 1e-4


def test_anchors_are_fixed_and_the_head_follows_the_seed():
    torch.manual_seed(3)
    first = CAC(400, 10)
    torch.manual_seed(3)
    assert torch.equal(CAC(400, 10).head.weight, first.head.weight)
    assert first.head.weight.std().item() == pytest.approx(0.01, rel=0.05) and not first.head.bias.any()
    assert {name for name, _ in first.named_parameters()} == {"head.weight", "head.bias"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ten_steps_lower_the_loss(precision):
    torch.manual_seed(0)
    backbone = create_backbone("compact-s", image_size=32, width=0.25)
    network = Network(backbone, CAC(backbone.num_features, 3))
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


def test_weights_and_centres_travel_into_a_fresh_instance():
    method, fresh = make(alpha=3.0), CAC(5, 4)
    method.learn(batches)
    fresh.load_state_dict(method.state_dict())
    assert torch.equal(fresh.unknown_score(FEATURES), method.unknown_score(FEATURES))
    assert torch.equal(fresh.loss(FEATURES, LABELS), method.loss(FEATURES, LABELS))
    assert torch.equal(deepcopy(method).unknown_score(FEATURES), method.unknown_score(FEATURES))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "cac: alpha is above 0; got 0.0"),
        ({"alpha": math.nan}, "cac: alpha"),
        ({"weight": -1.0}, "cac: weight is 0 or more; got -1.0"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(ValueError, match=message):
        CAC(5, 4, **options)


def test_bad_labels_and_features():
    for call in (make().loss, make().evidence):
        with pytest.raises(ValueError, match=r"cac: labels must lie in 0\.\.3; got -1"):
            call(FEATURES, LABELS - 1)
        with pytest.raises(ValueError, match="cac takes feature maps"):
            call(FEATURES.mean((2, 3)), LABELS)
    for call in (make().logits, make().unknown_score):
        with pytest.raises(ValueError, match="cac takes feature maps"):
            call(FEATURES[:, :4])
