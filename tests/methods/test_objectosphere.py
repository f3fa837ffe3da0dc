"""Objectosphere against loops over its definition."""

import copy
import math

import pytest
import torch
from torch import nn

from backmix.methods import TrainingBatch
from backmix.methods.objectosphere import Objectosphere

GENERATOR = torch.Generator().manual_seed(0)
FEATURES = torch.randn(6, 5, 3, 4, generator=GENERATOR)
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])
IMAGES = torch.randn(6, 3, 8, 8, generator=GENERATOR)
OUTLIERS = torch.randn(4, 3, 8, 8, generator=GENERATOR) + 0.5


def make(classes=4, **options):
    torch.manual_seed(1)
    return Objectosphere(5, classes, **options)


def make_backbone():
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5), nn.ReLU())


def slow_length(image):
    """Of one feature map (C, h, w), pooled."""
    return math.sqrt(sum((sum(c.flatten().tolist()) / c.numel()) ** 2 for c in image.double()))


def slow_log_probabilities(method, features):
    """Pool, multiply and normalise, number by number."""
    weight, bias = method.head.weight.double().tolist(), method.head.bias
    rows = []
    for image in features.double():
        pooled = [sum(channel.flatten().tolist()) / channel.numel() for channel in image]
        logits = [sum(w * f for w, f in zip(row, pooled, strict=True)) for row in weight]
        logits = [z + (bias[k].item() if bias is not None else 0.0) for k, z in enumerate(logits)]
        log_sum = math.log(sum(math.exp(z) for z in logits))
        rows.append([z - log_sum for z in logits])
    return rows


def slow_loss(method, known, outliers, labels, xi, ring_weight, weight):
    total = 0.0
    for image, row, label in zip(known, slow_log_probabilities(method, known), labels.tolist()):
        total += -row[label] + ring_weight * max(xi - slow_length(image), 0) ** 2
    for image, row in zip(outliers, slow_log_probabilities(method, outliers)):
        total += weight * (-sum(row) / len(row) + ring_weight * slow_length(image) ** 2)
    return total / (len(known) + len(outliers))


# With xi = 0.55 some known features are long enough and some are not.
@pytest.mark.parametrize(("xi", "ring_weight", "weight"), [(50.0, 1e-4, 1.0), (0.55, 0.5, 1.0), (0.55, 2.0, 0.25)])
@pytest.mark.parametrize("count", [0, 4])
def test_loss_against_a_loop(xi, ring_weight, weight, count):
    method, backbone = make(xi=xi, ring_weight=ring_weight, weight=weight), make_backbone().eval()
    batch = TrainingBatch(IMAGES, LABELS, outliers=OUTLIERS[:count])
    features, loss = method.training_loss(backbone, batch)
    known, outliers = backbone(IMAGES), backbone(OUTLIERS[:count])
    assert torch.allclose(features, known, atol=1e-6)
    expected = slow_loss(method, known, outliers, LABELS, xi, ring_weight, weight)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_known_features_on_both_sides_of_the_ring_were_tried():
    lengths = make().lengths(make_backbone().eval()(IMAGES))
    assert lengths.min() < 0.55 < lengths.max()


def test_constants_are_those_of_the_release():
    method = make()
    assert (method.xi, method.ring_weight, method.weight) == (50.0, 1e-4, 1.0)


def test_long_features_pay_nothing_and_short_ones_the_square():
    method = make(xi=2.0, ring_weight=1.0)
    with torch.no_grad():
        method.head.weight.zero_()  # Then the cross-entropy is log 4 whatever the features.

    def paid(length):
        features = torch.zeros(1, 5, 2, 2)
        features[:, 3] = length
        return method.loss(features, torch.tensor([1])).item() - math.log(4)

    assert [paid(length) for length in (0.5, 1.5, 2.0, 7.0)] == pytest.approx([2.25, 0.25, 0, 0], abs=1e-6)


def test_the_head_has_no_bias_so_that_no_features_mean_equal_probabilities():
    assert make().head.bias is None
    assert torch.equal(make().logits(0 * FEATURES).softmax(1), torch.full((6, 4), 0.25))


def test_gradients_are_finite_at_features_of_zero():
    method = make(xi=1.0, ring_weight=1.0)
    features = torch.zeros(6, 5, 3, 4, requires_grad=True)
    (method.loss(features, LABELS) + method.outlier_losses(features).sum()).backward()
    assert features.grad.isfinite().all()


def test_no_outliers_in_a_batch_leave_the_loss_of_the_known_ones():
    method, backbone = make(), make_backbone().eval()
    _, loss = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS, outliers=OUTLIERS[:0]))
    assert loss.item() == pytest.approx(method.loss(backbone(IMAGES), LABELS).item(), abs=1e-6)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*method.parameters(), *backbone.parameters()])


def test_mixed_labels_leave_the_terms_on_lengths_alone():
    method, backbone = make(xi=9.0, ring_weight=1.0), make_backbone().eval()
    other = LABELS.roll(1)

    def loss(labels, targets=None):
        return method.training_loss(backbone, TrainingBatch(IMAGES, labels, targets, outliers=OUTLIERS))[1].item()

    mixed = loss(LABELS, ((LABELS, 0.7), (other, 0.3)))
    assert mixed == pytest.approx(0.7 * loss(LABELS) + 0.3 * loss(other), rel=1e-5)


def test_score_is_minus_the_log_of_probability_times_length():
    method = make()
    rows = slow_log_probabilities(method, FEATURES)
    products = [math.exp(max(row)) * slow_length(image) for row, image in zip(rows, FEATURES)]
    scores = method.unknown_score(FEATURES)
    assert scores.dtype == torch.float32
    assert (scores - torch.tensor([-math.log(product) for product in products])).abs().max() < 1e-5
    assert scores.argsort().tolist() == sorted(range(6), key=lambda i: -products[i])


def test_the_length_is_that_of_features_not_of_logits():
    """Turning the head around changes the logits' length, and nothing that the score may look at."""
    method = make(2)
    with torch.no_grad():
        method.head.weight.copy_(torch.tensor([[3.0, 0, 0, 0, 0], [3.0, 0, 0, 0, 0]]))
    features = torch.zeros(2, 5, 1, 1)
    features[0, 0] = 1.0  # Logits of length 4.2 ...
    features[1, 1] = 2.0  # ... and of length 0; both images have p = 1/2.
    assert method.unknown_score(features).tolist() == pytest.approx([math.log(2), 0.0], abs=1e-6)


def test_score_stays_finite_without_features():
    scores = make().unknown_score(torch.cat([FEATURES, 0 * FEATURES[:1]]))
    assert scores.isfinite().all() and scores.argmax() == 6


def test_lengths_are_taken_in_float32():
    features = torch.full((1, 5, 2, 2), 3.0).bfloat16()
    lengths = make().lengths(features)
    assert lengths.dtype == torch.float32 and lengths.item() == pytest.approx(math.sqrt(45), rel=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ten_steps_lower_the_loss(precision):
    method, backbone = make(xi=5.0, ring_weight=0.01), make_backbone()
    optimizer = torch.optim.SGD([*method.parameters(), *backbone.parameters()], lr=0.2, momentum=0.9)
    losses = []
    for _ in range(11):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            _, loss = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS, outliers=OUTLIERS))
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_training_makes_known_features_longer_than_those_of_outliers():
    method, backbone = make(xi=5.0, ring_weight=0.05), make_backbone()
    optimizer = torch.optim.SGD([*method.parameters(), *backbone.parameters()], lr=0.1, momentum=0.9)
    for _ in range(60):
        _, loss = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS, outliers=OUTLIERS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    features = backbone(torch.cat([IMAGES, OUTLIERS]))
    lengths, scores = method.lengths(features), method.unknown_score(features)
    assert lengths[:6].mean() > 1.2 * lengths[6:].mean()
    assert scores[:6].mean() < scores[6:].mean()


def test_evidence_is_a_map_of_the_label():
    evidence = make().evidence(FEATURES, LABELS)
    assert evidence.shape == (6, 3, 4) and not evidence.requires_grad
    assert evidence.min() == 0 and evidence.max() == 1


def test_saved_weights_give_the_same_answers():
    method, other = make(), Objectosphere(5, 4)
    assert not torch.equal(other.logits(FEATURES), method.logits(FEATURES))
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.unknown_score(FEATURES), method.unknown_score(FEATURES))
    assert torch.equal(copy.deepcopy(method).unknown_score(FEATURES), method.unknown_score(FEATURES))


def test_training_without_outliers_says_where_to_get_them():
    assert Objectosphere.needs_outliers and Objectosphere.uses_outliers
    with pytest.raises(ValueError, match=r"^objectosphere .*--outliers"):
        make().training_loss(make_backbone(), TrainingBatch(IMAGES, LABELS))


@pytest.mark.parametrize("call", ["outlier_losses", "unknown_score", "lengths"])
def test_features_of_another_shape(call):
    with pytest.raises(ValueError, match=r"^objectosphere takes feature maps \(B, 5, h, w\)"):
        getattr(make(), call)(FEATURES[:, :4])


@pytest.mark.parametrize("option", ["weight", "ring_weight", "xi"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_options_outside_their_range(option, value):
    with pytest.raises(ValueError, match=f"^objectosphere: {option}"):
        make(**{option: value})


def test_a_ring_without_radius():
    with pytest.raises(ValueError, match="^objectosphere: xi"):
        make(xi=0)
