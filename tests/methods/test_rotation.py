"""Rotation self-supervision against loops over its definition."""

import copy
import math

import pytest
import torch
from torch import nn

from backmix.methods import TrainingBatch
from backmix.methods.rotation import Rotation

GENERATOR = torch.Generator().manual_seed(0)
FEATURES = torch.randn(6, 5, 3, 4, generator=GENERATOR)
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])
# Brighter at the top, so that there is something to tell rotations by.
IMAGES = torch.randn(6, 3, 8, 8, generator=GENERATOR) + torch.linspace(1, -1, 8)[:, None]


def make(classes=4, **options):
    torch.manual_seed(1)
    return Rotation(5, classes, **options)


def make_backbone():
    torch.manual_seed(2)
    # Batch norm behind a convolution without padding: pooled features tell the rotations apart.
    return nn.Sequential(nn.Conv2d(3, 5, 3, stride=3), nn.BatchNorm2d(5), nn.ReLU())


def slow_rotate(image, turns):
    """Quarter turns counter-clockwise of (C, S, S), pixel by pixel: the right edge becomes the top one."""
    for _ in range(turns):
        size = image.shape[1]
        turned = torch.empty_like(image)
        for y in range(size):
            for x in range(size):
                turned[:, y, x] = image[:, x, size - 1 - y]
        image = turned
    return image


def slow_log_probabilities(logits):
    rows = []
    for row in logits.double().tolist():
        log_sum = math.log(sum(math.exp(z) for z in row))
        rows.append([z - log_sum for z in row])
    return rows


def slow_rotation_losses(method, backbone, images):
    """-log q_r of every image and rotation, one image at a time: (B, 4) numbers."""
    losses = []
    for image in images:
        row = []
        for turns in range(4):
            features = backbone(slow_rotate(image, turns)[None])
            row.append(-slow_log_probabilities(method.rotation_head(features.mean((2, 3))))[0][turns])
        losses.append(row)
    return losses


@pytest.mark.parametrize("turns", range(4))
def test_rotation_against_a_loop(turns):
    rotated = make().rotated(IMAGES, turns)
    assert all(torch.equal(rotated[i], slow_rotate(IMAGES[i], turns)) for i in range(6))


@pytest.mark.parametrize("weight", [0.5, 1.0, 0.0])
def test_loss_against_a_loop(weight):
    method, backbone = make(weight=weight), make_backbone().eval()
    features, loss = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS))
    assert torch.allclose(features, backbone(IMAGES), atol=1e-6)
    classes = slow_log_probabilities(method.logits(backbone(IMAGES)))
    expected = sum(-row[label] for row, label in zip(classes, LABELS.tolist())) / 6
    expected += weight * sum(map(sum, slow_rotation_losses(method, backbone, IMAGES))) / 24
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_the_weight_is_the_one_of_the_paper():
    assert make().weight == 0.5


def test_batch_norm_sees_all_rotations():
    method, backbone = make(), make_backbone()
    alike = copy.deepcopy(backbone)
    features, _ = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS))
    together = alike(torch.cat([torch.rot90(IMAGES, turns, (2, 3)) for turns in range(4)]))
    assert torch.equal(features, together[:6])
    assert torch.equal(backbone[1].running_mean, alike[1].running_mean)


def test_mixed_labels_leave_the_rotations_alone():
    method, backbone = make(weight=2.0), make_backbone().eval()
    other = LABELS.roll(1)

    def loss(labels, targets=None):
        return method.training_loss(backbone, TrainingBatch(IMAGES, labels, targets))[1].item()

    mixed = loss(LABELS, ((LABELS, 0.7), (other, 0.3)))
    assert mixed == pytest.approx(0.7 * loss(LABELS) + 0.3 * loss(other), abs=1e-5)
    assert abs(mixed - loss(LABELS)) > 1e-3


def test_response_against_a_loop():
    method, backbone = make(), make_backbone().eval()
    response = method.respond(backbone, IMAGES)
    assert torch.allclose(response.logits, method.logits(backbone(IMAGES)), atol=1e-6)
    assert torch.allclose(response.features, backbone(IMAGES).mean((2, 3)), atol=1e-6)
    losses = slow_rotation_losses(method, backbone, IMAGES)
    for row, lost, score in zip(slow_log_probabilities(response.logits), losses, response.score.tolist()):
        divergence = sum(1 / 4 * (math.log(1 / 4) - log_p) for log_p in row)
        assert score == pytest.approx(-(divergence - sum(lost) / 4), abs=1e-5)
    assert response.score.dtype == response.features.dtype == response.logits.dtype == torch.float32


def test_an_answer_does_not_depend_on_the_rest_of_the_batch():
    method, backbone = make(), make_backbone().eval()
    together = method.respond(backbone, IMAGES).score
    alone = torch.cat([method.respond(backbone, IMAGES[i : i + 1]).score for i in range(6)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_forward_at_prediction_holds_no_more_images_than_were_given():
    seen = []
    backbone = make_backbone().eval()

    def watched(images):
        seen.append(len(images))
        return backbone(images)

    make().respond(watched, IMAGES)
    assert seen == [6, 6, 6, 6]


def test_wrongly_named_rotations_make_an_image_more_unknown():
    method, backbone = make(), make_backbone().eval()
    before = method.respond(backbone, IMAGES).score
    with torch.no_grad():
        method.rotation_head.weight.zero_()
        method.rotation_head.bias.copy_(torch.tensor([50.0, 0, 0, 0]))  # Everything is called upright.
    assert (method.respond(backbone, IMAGES).score > before + 10).all()


def test_score_of_features_alone_is_minus_the_divergence_from_uniform():
    method = make()
    rows = slow_log_probabilities(method.logits(FEATURES))
    expected = [-sum(1 / 4 * (math.log(1 / 4) - log_p) for log_p in row) for row in rows]
    assert method.unknown_score(FEATURES).tolist() == pytest.approx(expected, abs=1e-5)
    with torch.no_grad():
        method.head.weight.zero_()
        method.head.bias.zero_()
    assert method.unknown_score(FEATURES).tolist() == pytest.approx([0.0] * 6, abs=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ten_steps_lower_the_loss(precision):
    method, backbone = make(), make_backbone()
    optimizer = torch.optim.SGD([*method.parameters(), *backbone.parameters()], lr=0.2, momentum=0.9)
    losses = []
    for _ in range(11):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            features, loss = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS))
        assert loss.dtype == torch.float32 and features.shape == (6, 5, 2, 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_the_rotation_head_learns_the_rotations():
    method, backbone = make(weight=1.0), make_backbone()
    optimizer = torch.optim.SGD([*method.parameters(), *backbone.parameters()], lr=0.2, momentum=0.9)
    for _ in range(60):
        _, loss = method.training_loss(backbone, TrainingBatch(IMAGES, LABELS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    features = backbone(torch.cat([method.rotated(IMAGES, turns) for turns in range(4)]))
    found = method.rotation_head(features.mean((2, 3))).argmax(1)
    assert (found == torch.arange(4).repeat_interleave(6)).float().mean() > 0.7


def test_evidence_is_a_map_of_the_label():
    evidence = make().evidence(FEATURES, LABELS)
    assert evidence.shape == (6, 3, 4) and not evidence.requires_grad
    assert evidence.min() == 0 and evidence.max() == 1


def test_saved_weights_give_the_same_answers():
    method, other, backbone = make(), Rotation(5, 4), make_backbone().eval()
    assert not torch.equal(other.respond(backbone, IMAGES).score, method.respond(backbone, IMAGES).score)
    other.load_state_dict(method.state_dict())
    for same in (other, copy.deepcopy(method)):
        assert torch.equal(same.respond(backbone, IMAGES).score, method.respond(backbone, IMAGES).score)


def test_images_that_are_not_square():
    wide = IMAGES[:, :, :6]
    with pytest.raises(ValueError, match=r"^rotation takes square images .*got \(6, 3, 6, 8\)"):
        make().training_loss(make_backbone(), TrainingBatch(wide, LABELS))
    with pytest.raises(ValueError, match=r"^rotation takes square images"):
        make().respond(make_backbone(), wide)


def test_features_of_another_shape():
    with pytest.raises(ValueError, match=r"^rotation takes feature maps \(B, 5, h, w\)"):
        make().unknown_score(FEATURES[:, :4])


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_weight_outside_its_range(weight):
    with pytest.raises(ValueError, match="^rotation: weight"):
        make(weight=weight)


def test_no_outliers_are_asked_for():
    assert not Rotation.needs_outliers and not Rotation.uses_outliers
