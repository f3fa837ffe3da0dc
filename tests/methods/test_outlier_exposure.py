"""Outlier Exposure against loops over its definition."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from backmix.detectors.msp import MSP
from backmix.methods import TrainingBatch
from backmix.methods.outlier_exposure import OutlierExposure, minus_log_msp

GENERATOR = torch.Generator().manual_seed(0)
FEATURES = torch.randn(6, 5, 3, 4, generator=GENERATOR)
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])
IMAGES = torch.randn(6, 3, 8, 8, generator=GENERATOR)
OUTLIERS = torch.randn(4, 3, 8, 8, generator=GENERATOR) + 0.5


def make(classes=4, **options):
    torch.manual_seed(1)
    return OutlierExposure(5, classes, **options)


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
    rows = slow_log_probabilities(method, known)
    total = sum(-row[label] for row, label in zip(rows, labels.tolist())) / len(rows)
    others = slow_log_probabilities(method, outliers)
    return total + weight * sum(-sum(row) / len(row) for row in others) / len(others)


@pytest.mark.parametrize("weight", [0.5, 2.0, 0.0])
def test_loss_against_a_loop(weight):
    method, backbone = make(weight=weight), make_backbone().eval()
    features, loss = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS, outliers=OUTLIERS))
    assert torch.allclose(features, backbone(IMAGES), atol=1e-6)
    expected = slow_loss(method, backbone(IMAGES), backbone(OUTLIERS), LABELS, weight)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_weight_and_share_of_outliers_are_those_of_the_paper():
    assert OutlierExposure(5, 4).weight == 0.5
    assert OutlierExposure.outlier_share == 256 / 128


def test_outlier_loss_is_cross_entropy_from_the_uniform_target():
    method = make()
    uniform = torch.full((6, 4), 0.25)
    expected = F.cross_entropy(method.logits(FEATURES), uniform)
    assert method.outlier_loss(FEATURES).item() == pytest.approx(expected.item(), abs=1e-6)


def test_outlier_loss_is_least_where_all_classes_are_equally_likely():
    method = make()
    assert method.outlier_loss(FEATURES) > math.log(4)
    with torch.no_grad():
        method.head.weight.zero_()
        method.head.bias.fill_(3.0)
    assert method.outlier_loss(FEATURES).item() == pytest.approx(math.log(4))


def test_no_outliers_in_a_batch_leave_the_plain_loss():
    method, backbone = make(), make_backbone().eval()
    _, loss = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS, outliers=OUTLIERS[:0]))
    assert loss.item() == pytest.approx(method.loss(backbone(IMAGES), LABELS).item(), abs=1e-6)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*method.parameters(), *backbone.parameters()])


def test_batch_norm_sees_images_and_outliers_together():
    method, backbone = make(), make_backbone()
    alike = copy.deepcopy(backbone)
    features, _ = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS, outliers=OUTLIERS))
    together = alike(torch.cat([IMAGES, OUTLIERS]))
    assert torch.equal(features, together[:6])
    assert torch.equal(backbone[1].running_mean, alike[1].running_mean)
    assert not torch.allclose(features, alike(IMAGES), atol=1e-3)


def test_mixed_labels_count_by_weight():
    method, backbone = make(), make_backbone().eval()
    other = LABELS.roll(1)

    def loss(labels, targets=None):
        return method.training_loss(backbone, TrainingBatch(IMAGES, labels, targets, outliers=OUTLIERS))[1].item()

    mixed = loss(LABELS, ((LABELS, 0.7), (other, 0.3)))
    assert mixed == pytest.approx(0.7 * loss(LABELS) + 0.3 * loss(other), abs=1e-5)
    assert abs(mixed - loss(LABELS)) > 1e-3


def test_scores_against_loops():
    rows = slow_log_probabilities(make(), FEATURES)
    expected = torch.tensor([-max(row) for row in rows])
    assert (make().unknown_score(FEATURES) - expected).abs().max() < 1e-5
    expected = torch.tensor([sum(row) / len(row) for row in rows])
    assert (make(score="uniform").unknown_score(FEATURES) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("score", ["msp", "uniform"])
def test_equal_probabilities_are_the_most_unknown(score):
    method = make(score=score)
    with torch.no_grad():
        method.head.bias.zero_()
    scores = method.unknown_score(torch.cat([FEATURES, 0 * FEATURES[:1]]))
    assert scores.argmax() == 6 and scores.dtype == torch.float32


def test_confident_images_do_not_tie():
    """In float32 the largest probability itself is exactly 1 from 17 nats on."""
    logits = torch.stack([torch.tensor([float(top), 0.0, 0.0]) for top in (20, 30, 60, 90)])
    assert (logits.softmax(1).amax(1) == 1).all()
    scores = minus_log_msp(logits)
    assert (scores.diff() < 0).all() and (scores > 0).all()


def test_msp_agrees_with_the_detector():
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(3)) * 10
    assert torch.allclose(minus_log_msp(logits), MSP()(logits).float(), rtol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ten_steps_lower_the_loss(precision):
    method, backbone = make(), make_backbone()
    optimizer = torch.optim.SGD([*method.parameters(), *backbone.parameters()], lr=0.2, momentum=0.9)
    losses = []
    for _ in range(11):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            features, loss = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS, outliers=OUTLIERS))
        assert loss.dtype == torch.float32 and features.shape == (6, 5, 4, 4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_training_separates_outliers():
    method, backbone = make(), make_backbone()
    optimizer = torch.optim.SGD([*method.parameters(), *backbone.parameters()], lr=0.2, momentum=0.9)
    for _ in range(60):
        _, loss = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS, outliers=OUTLIERS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scores = method.unknown_score(backbone(torch.cat([IMAGES, OUTLIERS])))
    assert scores[6:].mean() > scores[:6].mean() + 0.3


def test_evidence_is_a_map_of_the_label():
    evidence = make().evidence(FEATURES, LABELS)
    assert evidence.shape == (6, 3, 4) and not evidence.requires_grad
    assert evidence.min() == 0 and evidence.max() == 1
    assert not torch.equal(evidence, make().evidence(FEATURES, LABELS.roll(1)))


def test_saved_weights_give_the_same_answers():
    method = make()
    other = OutlierExposure(5, 4)
    assert not torch.equal(other.logits(FEATURES), method.logits(FEATURES))
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.unknown_score(FEATURES), method.unknown_score(FEATURES))
    assert torch.equal(copy.deepcopy(method).unknown_score(FEATURES), method.unknown_score(FEATURES))


def test_training_without_outliers_says_where_to_get_them():
    assert OutlierExposure.needs_outliers and OutlierExposure.uses_outliers
    with pytest.raises(ValueError, match=r"^outlier-exposure .*--outliers"):
        make().training_loss(make_backbone(), TrainingBatch(IMAGES, LABELS))


def test_outliers_of_another_size():
    batch = TrainingBatch(IMAGES, LABELS, outliers=OUTLIERS[:, :, :4])
    with pytest.raises(ValueError, match=r"^outlier-exposure.*\(3, 8, 8\); got \(3, 4, 8\)"):
        make().training_loss(make_backbone(), batch)


@pytest.mark.parametrize("call", ["outlier_loss", "unknown_score"])
def test_features_of_another_shape(call):
    with pytest.raises(ValueError, match=r"^outlier-exposure takes feature maps \(B, 5, h, w\)"):
        getattr(make(), call)(FEATURES.mean((2, 3)))


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_weight_outside_its_range(weight):
    with pytest.raises(ValueError, match="^outlier-exposure: weight"):
        make(weight=weight)


def test_a_score_that_is_not_there():
    with pytest.raises(ValueError, match="^outlier-exposure: score is one of msp, uniform; got 'max'"):
        make(score="max")


def test_fewer_than_two_classes():
    with pytest.raises(ValueError, match="^outlier-exposure needs at least two"):
        make(1)
