"""PROSER: the three losses against a loop, where and when images are mixed, and a score that does not tie."""

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from backmix.methods import TrainingBatch
from backmix.methods.network import Network
from backmix.methods.proser import PROSER, middle_of
from backmix.mixing.cam import class_activation_map
from backmix.models import create_backbone

FEATURES = torch.randn(6, 5, 3, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])


def make(classes=4, **options):
    torch.manual_seed(1)
    return PROSER(5, classes, **options)


class Stages(nn.Module):
    """Three stages; the middle one is the last but one. Notes what the last one is given."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 5, 1)
        self.seen = []

    def stages_inside(self):
        return [self.first, self.second, self.third]

    def forward(self, images):
        hidden = self.second(self.first(images).tanh())
        self.seen.append(hidden)
        return self.third(hidden.tanh())


def drawn(seed, half):
    """What the method will draw after this seed."""
    torch.manual_seed(seed)
    share = float(torch.distributions.Beta(1.0, 1.0).sample())
    return share, torch.randperm(half)


def slow_placeholders(method, clean, mixed, labels, counted=None):
    """l1, l2 and l3, row by row: outputs of the second half, of the mixed first half; labels of the second half."""
    k = method.num_classes

    def cross_entropy(row, target):
        return math.log(sum(map(math.exp, row))) - row[target]

    kept = [row for row, count in zip(mixed.tolist(), counted or [True] * len(mixed), strict=True) if count]
    l1 = sum(cross_entropy(row, k) for row in kept) / max(1, len(kept))
    l2 = l3 = 0.0
    for row, label in zip(clean.tolist(), labels.tolist(), strict=True):
        l2 += cross_entropy(row, label) / len(labels)
        rivals = [z for j, z in enumerate(row[:k]) if j != label] + [max(row[k:])]
        l3 += cross_entropy(rivals, len(rivals) - 1) / len(labels)
    return [l1, l2, l3]


@pytest.mark.parametrize("dummies", [1, 3])
@pytest.mark.parametrize("same_class", [True, False])
def test_placeholder_losses_against_a_loop(dummies, same_class):
    weights = (0.5, 2.0, 3.0)
    method = make(dummies=dummies, same_class=same_class, weights=weights)
    labels = torch.tensor([1, 1, 2, 1, 3, 0])
    share, order = drawn(3, 3)
    assert order.tolist() != [0, 1, 2]
    mixed = share * FEATURES[:3] + (1 - share) * FEATURES[:3][order]
    torch.manual_seed(3)
    loss = method.loss(FEATURES, labels).item()
    outputs = [method.head(part.double().float().mean((2, 3))) for part in (FEATURES[3:], mixed)]
    counted = [same_class or labels[i] != labels[order[i]] for i in range(3)]
    assert same_class or not all(counted)
    parts = slow_placeholders(method, *outputs, labels[3:], counted)
    assert loss == pytest.approx(sum(w * part for w, part in zip(weights, parts)), abs=1e-5)


def test_weights_are_those_of_the_paper():
    assert make().weights == (0.01, 1.0, 1.0)


def test_mixed_labels_leave_other_pairs_out_of_the_first_loss():
    """With each label of a mixture the pairs that share it are left out, and the losses are weighed."""
    weights, labels, other = (0.5, 2.0, 3.0), torch.tensor([1, 1, 2, 1, 3, 0]), torch.tensor([0, 2, 2, 3, 1, 1])
    method = make(same_class=False, weights=weights)
    share, order = drawn(3, 3)
    mixed = share * FEATURES[:3] + (1 - share) * FEATURES[:3][order]
    outputs = [method.head(part.mean((2, 3))) for part in (FEATURES[3:], mixed)]
    expected, pairs = 0.0, []
    for target, weight in ((labels, 0.3), (other, 0.7)):
        pairs.append([target[i] != target[order[i]] for i in range(3)])
        parts = slow_placeholders(method, *outputs, target[3:], pairs[-1])
        expected += weight * sum(w * part for w, part in zip(weights, parts))
    assert pairs[0] != pairs[1] and any(pairs[0]) and any(pairs[1])
    torch.manual_seed(3)
    batch = TrainingBatch(FEATURES, labels, targets=((labels, 0.3), (other, 0.7)), progress=0.9)
    loss = method.training_loss(lambda images: images, batch)[1]
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_before_start_the_loss_is_cross_entropy_and_nothing_is_drawn():
    method = make()
    state = torch.get_rng_state()
    features, loss = method.training_loss(lambda images: images, TrainingBatch(FEATURES, LABELS, progress=0.79))
    assert torch.equal(torch.get_rng_state(), state) and features is FEATURES
    assert torch.allclose(loss, F.cross_entropy(method.logits(FEATURES), LABELS))
    loss.backward()
    assert (method.head.weight.grad[4:] == 0).all() and (method.head.weight.grad[:4] != 0).any()


def test_the_middle_layer_of_the_first_half_is_mixed_and_the_feature_map_is_clean():
    method, backbone = make(), Stages()
    images = torch.randn(6, 3, 2, 2)
    share, order = drawn(4, 3)
    hidden = backbone.second(backbone.first(images).tanh())
    expected = share * hidden[:3] + (1 - share) * hidden[:3][order]
    torch.manual_seed(4)
    features, loss = method.training_loss(backbone, TrainingBatch(images, LABELS, progress=0.8))
    assert len(backbone.seen) == 2
    assert torch.equal(backbone.seen[0], hidden) and torch.equal(backbone.seen[1], expected)
    assert torch.equal(features, backbone.third(hidden.tanh()))
    outputs = [method.head(part.mean((2, 3))) for part in (features[3:], backbone.third(expected.tanh()))]
    parts = slow_placeholders(method, *outputs, LABELS[3:])
    assert loss.item() == pytest.approx(0.01 * parts[0] + parts[1] + parts[2], abs=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in [*backbone.parameters(), *method.parameters()])


@pytest.mark.parametrize(("count", "place"), [(2, 0), (3, 1), (4, 2), (5, 3), (6, 3), (12, 7), (24, 15)])
def test_the_middle_is_the_last_stage_but_one_or_at_two_thirds_of_many(count, place):
    stages = [nn.Identity() for _ in range(count)]
    assert middle_of(stages) is stages[place]


def test_a_transformer_is_mixed_at_two_thirds_of_its_blocks():
    torch.manual_seed(0)
    backbone = create_backbone("vit_tiny_patch16_224", image_size=32, depth=12, embed_dim=24, num_heads=2)
    method, seen = PROSER(24, 4), []
    for number, block in enumerate(backbone.stages_inside()):
        block.register_forward_hook(lambda _, inputs, output, number=number: seen.append((number, output)))
    torch.manual_seed(4)
    method.training_loss(backbone, TrainingBatch(torch.randn(6, 3, 32, 32), LABELS, progress=0.9))
    assert [number for number, _ in seen] == [*range(12)] * 2
    clean, mixed = seen[:12], seen[12:]
    for (number, one), (_, other) in zip(clean, mixed):
        # Hooks run in the order they were set: these see the output of the eighth block before it is mixed.
        assert torch.allclose(one[:3], other, atol=1e-5) == (number <= 7)


@pytest.mark.parametrize("start", [0.8, 0.0, 1.0])
def test_rate_after_start_is_the_one_asked_for_or_the_schedule_goes_on(start):
    def schedule(progress):
        return 1 - progress

    plain, tuned = make(start=start), make(start=start, tuning_rate=0.01)
    for progress in (0.0, 0.4, 0.79, 0.8, 0.99):
        assert plain.rate(progress, schedule) == 1 - progress
        expected = 1 - progress / start if progress < start else 0.01
        assert tuned.rate(progress, schedule) == pytest.approx(expected)


def test_the_hook_is_gone_afterwards_even_after_an_error():
    method, backbone = make(), Stages()
    images = torch.randn(6, 3, 2, 2)
    method.training_loss(backbone, TrainingBatch(images, LABELS, progress=1.0))
    assert not backbone.second._forward_hooks

    class Broken(Stages):
        def forward(self, images):
            features = super().forward(images)
            if len(images) == 3:
                raise RuntimeError("broken")
            return features

    broken = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        method.training_loss(broken, TrainingBatch(images, LABELS, progress=1.0))
    assert not broken.second._forward_hooks


def test_a_backbone_without_stages_has_its_feature_map_mixed():
    method = make()
    torch.manual_seed(5)
    _, loss = method.training_loss(lambda images: images, TrainingBatch(FEATURES, LABELS, progress=0.9))
    torch.manual_seed(5)
    assert torch.equal(loss, method.loss(FEATURES, LABELS))


def test_mixed_labels_are_weighed():
    method, other = make(), LABELS.flip(0)

    def loss(targets):
        torch.manual_seed(6)
        batch = TrainingBatch(FEATURES, LABELS, targets=targets, progress=0.9)
        return method.training_loss(lambda images: images, batch)[1]

    expected = 0.3 * loss(((LABELS, 1.0),)) + 0.7 * loss(((other, 1.0),))
    assert torch.allclose(loss(((LABELS, 0.3), (other, 0.7))), expected)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("same_class", [True, False])
def test_small_batches_have_a_finite_loss(size, same_class):
    method = make(same_class=same_class)
    for backbone in (Stages(), lambda images: FEATURES[: len(images)]):
        batch = TrainingBatch(torch.randn(size, 3, 2, 2), LABELS[:size], progress=1.0)
        assert method.training_loss(backbone, batch)[1].isfinite()


def test_a_middle_layer_that_cannot_be_mixed():
    class Pair(nn.Module):
        def forward(self, images):
            return images, images

    class Pairs(Stages):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def stages_inside(self):
            return [self.pair, self.third]

        def forward(self, images):
            return super().forward(self.pair(images)[0])

    class Skipping(Stages):
        def stages_inside(self):
            return [nn.Identity(), self.third]

    batch = TrainingBatch(torch.randn(6, 3, 2, 2), LABELS, progress=1.0)
    with pytest.raises(ValueError, match=r"proser mixes what Pair gives .* got tuple"):
        make().training_loss(Pairs(), batch)
    with pytest.raises(ValueError, match=r"proser mixes after Identity, which ran 0 times"):
        make().training_loss(Skipping(), batch)


@pytest.mark.parametrize("dummies", [1, 3])
def test_score_against_its_definition_in_double_precision(dummies):
    method = make(dummies=dummies)
    features = 30 * torch.randn(200, 5, 2, 2, generator=torch.Generator().manual_seed(7))
    outputs = method.head(features.mean((2, 3))).double()
    q = (torch.cat([outputs[:, :4], outputs[:, 4:].amax(1, keepdim=True)], 1) / 1024).softmax(1)
    expected = q[:, 4] - q[:, :4].amax(1)
    score = method.unknown_score(features)
    assert score.dtype == torch.float32
    assert ((score - expected) / expected).abs().max() < 1e-4
    assert (score > 0).any() and (score < 0).any()
    assert torch.equal(score.argsort(), expected.argsort())


def test_scores_do_not_tie_where_rounded_probabilities_would():
    method = make(2)
    with torch.no_grad():
        method.head.weight.zero_()
        method.head.weight[2, 0] = 1
        method.head.bias.zero_()
    steps = torch.linspace(-1e-3, 1e-3, 100)
    features = torch.zeros(100, 5, 1, 1)
    features[:, 0, 0, 0] = steps
    rounded = (torch.stack([steps * 0, steps * 0, steps], 1) / 1024).softmax(1)
    assert len((rounded[:, 2] - rounded[:, 0]).unique()) < 50
    score = method.unknown_score(features)
    assert len(score.unique()) == 100 and score.argsort().tolist() == list(range(100))


def test_huge_logits_have_a_finite_score():
    method = make()
    assert method.unknown_score(1e9 * FEATURES).abs().max() <= 1


def test_logits_and_evidence_leave_the_dummies_out():
    method = make(dummies=2)
    assert torch.equal(method.logits(FEATURES), method.head(FEATURES.mean((2, 3)))[:, :4])
    evidence = method.evidence(FEATURES, LABELS)
    assert torch.equal(evidence, class_activation_map(FEATURES, method.head.weight[:4], LABELS))
    assert not evidence.requires_grad


def test_same_seed_same_loss_and_copies_answer_alike():
    method, copied = make(), deepcopy(make())
    losses = []
    for each in (method, copied):
        torch.manual_seed(8)
        losses.append(each.loss(FEATURES, LABELS))
    loaded = PROSER(5, 4)
    loaded.load_state_dict(method.state_dict())
    assert torch.equal(*losses) and torch.equal(loaded.unknown_score(FEATURES), method.unknown_score(FEATURES))


@pytest.mark.parametrize("model", ["compact-s", "vgg32", "wrn-40-4", "resnet18-small"])
def test_backbones_of_the_project_can_be_mixed_inside(model):
    torch.manual_seed(0)
    try:
        backbone = create_backbone(model, image_size=32, width=0.125)
    except ValueError:
        pytest.skip(f"no {model}")
    network = Network(backbone, PROSER(backbone.num_features, 3))
    _, loss = network(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0]), progress=0.9)
    loss.backward()
    assert len(backbone.stages_inside()) >= 2 and all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_ten_steps_lower_the_loss(precision, progress):
    torch.manual_seed(0)
    backbone = create_backbone("compact-s", image_size=32, width=0.25)
    network = Network(backbone, PROSER(backbone.num_features, 3))
    images, labels = torch.randn(12, 3, 32, 32), torch.arange(12) % 3
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(11):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            _, loss = network(images, labels, progress=progress)
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dummies": 0}, "proser needs at least one dummy"),
        ({"start": -0.1}, "proser: start"),
        ({"start": math.nan}, "proser: start"),
        ({"weights": (1.0, 1.0)}, "proser takes three weights"),
        ({"weights": (1.0, -1.0, 1.0)}, "proser takes three weights"),
        ({"temperature": 0.0}, "proser needs a temperature"),
        ({"tuning_rate": 0.0}, "proser: tuning_rate"),
        ({"tuning_rate": 1.1}, "proser: tuning_rate"),
        ({"classes": 1}, "proser needs at least two"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_wrong_features_and_labels():
    method = make()
    for call in (method.logits, method.unknown_score):
        with pytest.raises(ValueError, match="proser takes feature maps"):
            call(FEATURES[:, :4])
    for call in (method.loss, method.evidence):
        with pytest.raises(ValueError, match="proser: labels must lie in 0..3"):
            call(FEATURES, LABELS - 1)
