"""The entropic open-set loss against loops over its definition."""

import copy
import math

import pytest
import torch
from torch import nn

from backmix.methods import TrainingBatch
from backmix.methods.entropic import Entropic

GENERATOR = torch.Generator().manual_seed(0)
FEATURES = torch.randn(6, 5, 3, 4, generator=GENERATOR)
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])
IMAGES = torch.randn(6, 3, 8, 8, generator=GENERATOR)
OUTLIERS = torch.randn(4, 3, 8, 8, generator=GENERATOR) + 0.5


def make(classes=4, **options):
    torch.manual_seed(1)
    return Entropic(5, classes, **options)


def make_backbone():
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5), nn.ReLU())


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


def slow_loss(method, known, outliers, labels, weight):
    """Equation by equation: one sum over known images, one over outliers, divided by how many there are."""
    total = 0.0
    for row, label in zip(slow_log_probabilities(method, known), labels.tolist()):
        total -= row[label]
    for row in slow_log_probabilities(method, outliers):
        total -= weight * sum(row) / len(row)
    return total / (len(known) + len(outliers))


def test_defaults_are_those_of_the_formula_and_the_release():
    method = Entropic(5, 4)
    assert method.weight == 1.0 and method.head.bias is None and method.outlier_share == 1.0


@pytest.mark.parametrize("weight", [1.0, 0.25, 0.0])
@pytest.mark.parametrize("count", [0, 1, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_loss_against_a_loop(weight, count, bias):
    method, backbone = make(weight=weight, bias=bias), make_backbone().eval()
    batch = TrainingBatch(IMAGES, LABELS, outliers=OUTLIERS[:count])
    features, loss = method.training_loss(backbone, batch)
    assert torch.allclose(features, backbone(IMAGES), atol=1e-6)
    expected = slow_loss(method, backbone(IMAGES), backbone(OUTLIERS[:count]), LABELS, weight)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_no_outliers_in_a_batch_leave_finite_gradients():
    method, backbone = make(), make_backbone()
    _, loss = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS, outliers=OUTLIERS[:0]))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*method.parameters(), *backbone.parameters()])


def test_outlier_loss_is_at_least_the_greatest_entropy():
    assert (make().outlier_losses(FEATURES) > math.log(4)).all()
    assert make().outlier_losses(0 * FEATURES).tolist() == pytest.approx([math.log(4)] * 6)


def test_an_image_without_features_gets_equal_probabilities():
    """The head has no bias by default."""
    assert make().head.bias is None
    assert torch.equal(make().logits(0 * FEATURES), torch.zeros(6, 4))
    assert make(bias=True).head.bias is not None


def test_batch_norm_sees_images_and_outliers_together():
    method, backbone = make(), make_backbone()
    alike = copy.deepcopy(backbone)
    features, _ = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS, outliers=OUTLIERS))
    assert torch.equal(features, alike(torch.cat([IMAGES, OUTLIERS]))[:6])


def test_mixed_labels_count_by_weight():
    method, backbone = make(), make_backbone().eval()
    other = LABELS.roll(1)

    def loss(labels, targets=None):
        return method.training_loss(backbone, TrainingBatch(IMAGES, labels, targets, outliers=OUTLIERS))[1].item()

    mixed = loss(LABELS, ((LABELS, 0.7), (other, 0.3)))
    assert mixed == pytest.approx(0.7 * loss(LABELS) + 0.3 * loss(other), abs=1e-5)
    assert abs(mixed - loss(LABELS)) > 1e-3


def test_score_is_minus_the_log_of_the_largest_probability():
    expected = torch.tensor([-max(row) for row in slow_log_probabilities(make(), FEATURES)])
    scores = make().unknown_score(FEATURES)
    assert (scores - expected).abs().max() < 1e-5 and scores.dtype == torch.float32


def test_confident_images_do_not_tie():
    method = make()
    scale = torch.tensor([1.0, 2.0, 3.0])[:, None, None, None] * 10
    features = scale * method.head.weight[0].detach()[None, :, None, None] / method.head.weight[0].norm() ** 2 * 5
    probability = method.logits(features).softmax(1).amax(1)
    assert probability[1] == 1 and probability[2] == 1
    assert (method.unknown_score(features).diff() < 0).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ten_steps_lower_the_loss(precision):
    method, backbone = make(), make_backbone()
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


def test_evidence_is_a_map_of_the_label():
    evidence = make().evidence(FEATURES, LABELS)
    assert evidence.shape == (6, 3, 4) and not evidence.requires_grad
    assert evidence.min() == 0 and evidence.max() == 1


def test_saved_weights_give_the_same_answers():
    method, other = make(), Entropic(5, 4)
    assert not torch.equal(other.logits(FEATURES), method.logits(FEATURES))
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.unknown_score(FEATURES), method.unknown_score(FEATURES))
    assert torch.equal(copy.deepcopy(method).unknown_score(FEATURES), method.unknown_score(FEATURES))


def test_training_without_outliers_says_where_to_get_them():
    assert Entropic.needs_outliers and Entropic.uses_outliers
    with pytest.raises(ValueError, match=r"^entropic .*--outliers"):
        make().training_loss(make_backbone(), TrainingBatch(IMAGES, LABELS))


@pytest.mark.parametrize("call", ["outlier_losses", "unknown_score"])
def test_features_of_another_shape(call):
    with pytest.raises(ValueError, match=r"^entropic takes feature maps \(B, 5, h, w\)"):
        getattr(make(), call)(FEATURES[:, :4])


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_weight_outside_its_range(weight):
    with pytest.raises(ValueError, match="^entropic: weight"):
        make(weight=weight)
