"""ConOSR: the contrastive loss against a loop, its two stages, and spectral norms that stay where they are."""

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from backmix.methods import TrainingBatch
from backmix.methods.conosr import ConOSR, soft_contrastive_loss
from backmix.methods.network import Network
from backmix.models import create_backbone

FEATURES = torch.randn(6, 5, 3, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])


def make(classes=4, **options):
    torch.manual_seed(1)
    return ConOSR(5, classes, **{"dim": 7, **options})


class Plain(nn.Module):
    """One convolution with batch norm and dropout; notes the images it was given."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.Tanh(), nn.Dropout(0.2))
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        return self.layers(images)


def batch_of(progress, **more):
    generator = torch.Generator().manual_seed(2)
    return TrainingBatch(torch.randn(12, 3, 2, 2, generator=generator), LABELS, progress=progress, **more)


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def slow_contrast(embeddings, targets, temperature):
    rows, targets = embeddings.double().tolist(), targets.double().tolist()
    total = 0.0
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i]
        similar = {j: sum(a * b for a, b in zip(rows[i], rows[j], strict=True)) / temperature for j in others}
        log_sum = math.log(sum(map(math.exp, similar.values())))
        weight = {j: cosine(targets[i], targets[j]) for j in others}
        total -= sum(weight[j] * (similar[j] - log_sum) for j in others) / sum(weight.values())
    return total / len(rows)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_contrastive_loss_against_a_loop(temperature):
    generator = torch.Generator().manual_seed(3)
    embeddings = F.normalize(torch.randn(9, 7, generator=generator), dim=1)
    targets = torch.rand(9, 4, generator=generator) + 0.01
    found = soft_contrastive_loss(embeddings, targets, temperature).item()
    assert found == pytest.approx(slow_contrast(embeddings, targets, temperature), abs=1e-5)


def test_contrastive_loss_of_hard_labels_is_supervised_contrast():
    """With one-hot targets the mean over those of the same class, and no companion counts 0."""
    embeddings = F.normalize(torch.randn(5, 7, generator=torch.Generator().manual_seed(4)), dim=1)
    labels = [0, 0, 1, 1, 2]
    similarity = (embeddings @ embeddings.T).double() / 0.1
    total = 0.0
    for i in range(5):
        others = [j for j in range(5) if j != i]
        same = [j for j in others if labels[j] == labels[i]]
        log_sum = similarity[i, others].logsumexp(0)
        total -= sum(similarity[i, j] - log_sum for j in same) / max(1, len(same))
    targets = F.one_hot(torch.tensor(labels)).float()
    assert soft_contrastive_loss(embeddings, targets, 0.1).item() == pytest.approx(float(total) / 5, abs=1e-5)


def test_contrastive_loss_has_a_finite_gradient_where_embeddings_meet():
    embeddings = F.normalize(torch.ones(6, 7), dim=1).requires_grad_()
    soft_contrastive_loss(embeddings, torch.rand(6, 4) + 0.1, 0.1).backward()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("mixed", [False, True])
def test_first_stage_against_its_steps(mixed):
    method, backbone = make().eval(), Plain().eval()
    other = LABELS.flip(0)
    batch = batch_of(0.69, targets=((LABELS, 0.25), (other, 0.75)) if mixed else None)
    torch.manual_seed(5)
    share, order = float(torch.distributions.Beta(1.0, 1.0).sample()), torch.randperm(6)
    views = batch.images.split(6)
    copies = [share * view + (1 - share) * view[order] for view in views]
    rows = torch.full((6, 4), 0.2 / 3)
    for i in range(6):
        if mixed:
            rows[i] = 0.0
            for label, weight in ((LABELS[i], 0.25), (other[i], 0.75)):
                rows[i] += weight * torch.tensor([0.8 if k == label else 0.2 / 3 for k in range(4)])
        else:
            rows[i, LABELS[i]] = 0.8
    mixed_rows = share * rows + (1 - share) * rows[order]
    maps = [backbone(part) for part in (*views, *copies)]
    embeddings = torch.cat([F.normalize(method.projection(part.mean((2, 3))), dim=1) for part in maps])
    expected = slow_contrast(embeddings.detach(), torch.cat([rows, rows, mixed_rows, mixed_rows]), 0.1)
    logits = method.classifier(maps[0].mean((2, 3)))
    smooth = torch.where(torch.arange(4) == LABELS[:, None], 0.9, 0.1 / 3)
    if mixed:
        smooth = 0.25 * smooth + 0.75 * torch.where(torch.arange(4) == other[:, None], 0.9, 0.1 / 3)
    expected -= (smooth * logits.log_softmax(1)).sum(1).mean().item()
    torch.manual_seed(5)
    features, loss = method.training_loss(backbone, batch)
    assert torch.allclose(features, maps[0], atol=1e-6)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_the_classifier_moves_neither_the_backbone_nor_the_projection():
    method, backbone = make(), Plain()
    method.loss(backbone(batch_of(0).images[:6]), LABELS).backward()
    assert all(p.grad is None for p in [*backbone.parameters(), *method.projection.parameters()])
    assert all(p.grad is not None for p in method.classifier.parameters())


def test_in_the_first_stage_everything_learns_and_the_contrast_leaves_the_classifier_alone():
    method, backbone = make(), Plain()
    torch.manual_seed(6)
    method.training_loss(backbone, batch_of(0.0))[1].backward()
    assert all(p.grad is not None for p in [*backbone.parameters(), *method.parameters()])
    # The gradient of the backbone is that of the contrastive loss alone: a wilder classifier does not change it.
    other, twin = make(), Plain()
    twin.load_state_dict({k: v for k, v in backbone.state_dict().items()})
    with torch.no_grad():
        other.classifier[2].bias.fill_(3.0)
        other.classifier[2].bias[0] = -50.0
    torch.manual_seed(6)
    other.training_loss(twin, batch_of(0.0))[1].backward()
    for ours, theirs in zip(backbone.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_in_the_second_stage_the_backbone_stands_still():
    method, backbone = make(), Plain()
    backbone.layers[3].eval()
    before = deepcopy(backbone.state_dict())
    batch = batch_of(0.7)
    features, loss = method.training_loss(backbone, batch)
    loss.backward()
    assert all(p.grad is None for p in backbone.parameters())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert [module.training for module in backbone.layers] == [True, True, True, False] and backbone.training
    assert torch.equal(features, backbone.eval()(batch.images[:6])) and features.shape == (6, 5, 2, 2)
    assert len(backbone.seen[0]) == 6
    assert torch.allclose(loss, method.loss(features, LABELS), atol=1e-5)


def test_the_backbone_trains_again_after_an_error():
    class Broken(Plain):
        def forward(self, images):
            raise RuntimeError("broken")

    backbone = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        make().training_loss(backbone, batch_of(0.9))
    assert all(module.training for module in backbone.modules()) and torch.is_grad_enabled()


@pytest.mark.parametrize("images", [6, 11, 18])
def test_one_view_is_not_enough(images):
    with pytest.raises(ValueError, match=rf"conosr learns from two views .*12 images for 6 labels.*got {images}"):
        make().training_loss(Plain(), TrainingBatch(torch.randn(images, 3, 2, 2), LABELS))


def test_score_is_minus_the_largest_logit_and_weights_have_norm_one():
    method = make().eval()
    assert torch.equal(method.unknown_score(FEATURES), -method.logits(FEATURES).max(1).values)
    for layer in (method.projection, method.classifier[0], method.classifier[2]):
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=0.05)
    assert torch.allclose(method.embed(FEATURES).norm(dim=1), torch.ones(6))


def test_answers_in_evaluation_do_not_move():
    method = make().eval()
    state = deepcopy(method.state_dict())
    answers = [(method.logits(FEATURES), method.embed(FEATURES), method.evidence(FEATURES, LABELS)) for _ in range(2)]
    for one, other in zip(*answers, strict=True):
        assert torch.equal(one, other)
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())


def test_a_trained_method_is_copied_saved_and_loaded():
    method = make()
    for _ in range(3):
        method.training_loss(Plain(), batch_of(0.0))[1].backward()
    method.eval()
    loaded = ConOSR(5, 4, dim=7).eval()
    loaded.load_state_dict(method.state_dict())
    for each in (deepcopy(method), loaded):
        assert torch.equal(each.logits(FEATURES), method.logits(FEATURES))
        assert torch.equal(each.embed(FEATURES), method.embed(FEATURES))


def test_evidence_is_the_scaled_logit_of_one_cell():
    method = make().eval()
    evidence = method.evidence(FEATURES, LABELS)
    assert evidence.shape == (6, 3, 4) and not evidence.requires_grad
    for b, label in enumerate(LABELS.tolist()):
        raw = torch.stack(
            [
                torch.stack([method.logits(FEATURES[b : b + 1, :, y : y + 1, x : x + 1])[0, label] for x in range(4)])
                for y in range(3)
            ]
        ).detach()
        assert (evidence[b] - (raw - raw.min()) / (raw.max() - raw.min())).abs().max() < 1e-5


def test_the_same_seed_gives_the_same_loss():
    losses = []
    for _ in range(2):
        torch.manual_seed(9)
        backbone = Plain()
        losses.append(make().training_loss(backbone, batch_of(0.0))[1])
    assert torch.equal(*losses)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_ten_steps_lower_the_loss(precision, progress):
    torch.manual_seed(0)
    backbone = create_backbone("compact-s", image_size=32, width=0.25)
    network = Network(backbone, ConOSR(backbone.num_features, 3))
    images, labels = torch.randn(24, 3, 32, 32), torch.arange(12) % 3
    images[12:] = images[:12] + 0.1 * images[12:]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.9)
    losses = []
    for _ in range(11):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            features, loss = network(images, labels, progress=progress)
        assert loss.dtype == torch.float32 and len(features) == 12
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Spectral norms keep the logits small: the loss cannot fall fast.
    assert losses[-1] < 0.97 * losses[0]


@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_half_precision_features_give_the_loss_of_the_same_features_in_float32(progress):
    losses = []
    for precision in (torch.bfloat16, torch.float32):

        def backbone(images, precision=precision):
            return torch.cat([images, images[:, :2] * 2], 1).bfloat16().to(precision)

        torch.manual_seed(7)
        method = make()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            losses.append(method.training_loss(backbone, batch_of(progress))[1])
    assert losses[0].dtype == torch.float32
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 1.1}, "conosr: start"),
        ({"start": math.nan}, "conosr: start"),
        ({"dim": 0}, "conosr needs dim"),
        ({"temperature": 0.0}, "conosr needs dim >= 1 and temperature"),
        ({"contrastive_smoothing": 0.9}, "conosr: contrastive_smoothing"),
        ({"label_smoothing": -0.1}, "conosr: label_smoothing"),
        ({"classes": 1}, "conosr needs at least two"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_wrong_features_and_labels():
    method = make()
    for call in (method.logits, method.unknown_score, method.embed):
        with pytest.raises(ValueError, match="conosr takes feature maps"):
            call(FEATURES[:, :4])
    for call in (method.loss, method.evidence):
        with pytest.raises(ValueError, match="conosr: labels must lie in 0..3"):
            call(FEATURES, LABELS - 1)
