"""PCSSR and RCSSR against loops over their definition."""

import math
from copy import deepcopy

import pytest
import torch

from backmix.methods import TrainingBatch
from backmix.methods.cssr import PCSSR, RCSSR, gram, softmax_then_average
from backmix.methods.network import Network
from backmix.models import create_backbone

FEATURES = torch.randn(6, 5, 3, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])
BOTH = pytest.mark.parametrize("kind", [PCSSR, RCSSR])


def make(kind=PCSSR, classes=4, **options):
    torch.manual_seed(1)
    return kind(5, classes, **{"latent": 3, **options})


def draw(images, seed, classes=4):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(images, 5, 2, 2, generator=generator)
    return features, torch.randint(classes, (images,), generator=generator)


def slow_cells(method, features):
    """Logits [image][class][cell], cell by cell and number by number."""
    encode, decode = method.encode.double().tolist(), method.decode.double().tolist()
    images = []
    for image in features.double().flatten(2).tolist():
        rows = []
        for k in range(method.num_classes):
            row = []
            for u in range(len(image[0])):
                f = [channel[u] for channel in image]
                hidden = [
                    math.tanh(sum(f[c] * encode[k][c][j] for c in range(len(f)))) for j in range(len(encode[k][0]))
                ]
                error = 0.0
                for c in range(len(f)):
                    error += abs(sum(hidden[j] * decode[k][j][c] for j in range(len(hidden))) - f[c])
                row.append(max(-100.0, min(100.0, method.sign * method.gamma * error)))
            rows.append(row)
        images.append(rows)
    return images


def slow_probabilities(rows):
    """Softmax at each cell, then the average: [class][cell] -> [class]."""
    total = [0.0] * len(rows)
    for u in range(len(rows[0])):
        exponentials = [math.exp(row[u]) for row in rows]
        for k, value in enumerate(exponentials):
            total[k] += value / sum(exponentials) / len(rows[0])
    return total


def slow_parts(method, features, prototypes, grams):
    """S0, S1 and S2 of each image."""
    found = []
    for image, rows in zip(features.double().flatten(2).tolist(), slow_cells(method, features), strict=True):
        p = slow_probabilities(rows)
        k = p.index(max(p))
        channels, cells = len(image), len(image[0])
        first = 0.0
        for u in range(cells):
            strength = sum(abs(channel[u]) for channel in image) / channels
            first += (rows[k][u] / strength / strength if method.sign < 0 else rows[k][u]) / cells
        second = sum(prototypes[k][c] * sum(image[c]) / cells for c in range(channels)) / channels
        third = sum(slow_gram(image)[c][d] * grams[k][c][d] for c in range(channels) for d in range(channels))
        found.append([first, second, third])
    return found


def slow_gram(image):
    return [[sum((a * b) ** 8 for a, b in zip(one, other, strict=True)) ** 0.125 for other in image] for one in image]


def slow_statistics(method, features):
    """Prototypes and Gram means by predicted class; the overall means for classes without images."""
    classes, channels = method.num_classes, features.shape[1]
    groups = [[] for _ in range(classes)]
    images = features.double().flatten(2).tolist()
    for image, rows in zip(images, slow_cells(method, features), strict=True):
        p = slow_probabilities(rows)
        groups[p.index(max(p))].append(image)
    groups = [group or images for group in groups]
    strength = [
        [sum(sum(map(abs, image[c])) / len(image[c]) for image in group) / len(group) for c in range(channels)]
        for group in groups
    ]
    prototypes = [[strength[k][c] / sum(row[c] for row in strength) for c in range(channels)] for k in range(classes)]
    grams = [torch.tensor([slow_gram(image) for image in group]).mean(0).tolist() for group in groups]
    return prototypes, grams


@BOTH
def test_cell_logits_and_loss_against_a_loop(kind):
    method = make(kind)
    cells = slow_cells(method, FEATURES)
    expected = torch.tensor(cells).unflatten(2, (3, 4))
    assert (method.cell_logits(FEATURES) - expected).abs().max() < 1e-5
    p = [slow_probabilities(rows) for rows in cells]
    assert (method.logits(FEATURES).exp() - torch.tensor(p)).abs().max() < 1e-5
    loss = -sum(math.log(row[y]) for row, y in zip(p, LABELS.tolist(), strict=True)) / 6
    assert method.loss(FEATURES, LABELS).item() == pytest.approx(loss, abs=1e-5)


@BOTH
def test_softmax_of_the_logits_is_the_mean_over_cells_of_the_softmax(kind):
    method = make(kind)
    expected = method.cell_logits(FEATURES).softmax(1).mean((2, 3))
    assert torch.allclose(method.logits(FEATURES).softmax(1), expected, atol=1e-6)


def test_the_order_matters():
    """The mean over cells of the logits would be another classifier: one cell cannot outvote two here."""
    cells = torch.tensor([[[[0.0, 0.0, -90.0]], [[-3.0, -3.0, 0.0]]]])
    assert softmax_then_average(cells).argmax(1).item() == 0
    assert cells.mean((2, 3)).argmax(1).item() == 1


def test_gradient_at_a_cell_is_weighted_by_its_share_of_the_class():
    cells = (10 * torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(3))).double().requires_grad_()
    torch.nn.functional.nll_loss(softmax_then_average(cells), LABELS, reduction="sum").backward()
    p = cells.detach().softmax(1)
    for b, y in enumerate(LABELS.tolist()):
        weight = p[b, y] / p[b, y].sum()
        is_label = torch.zeros(4, 1, 1).double()
        is_label[y] = 1
        assert (cells.grad[b] - weight * (p[b] - is_label)).abs().max() < 1e-9


def test_pcssr_prefers_the_class_that_rebuilds_and_rcssr_the_other():
    torch.manual_seed(1)
    for kind, winner in ((PCSSR, 1), (RCSSR, 0)):
        method = kind(5, 2, latent=5)
        with torch.no_grad():
            # Class 1 rebuilds small features nearly, class 0 gives nothing back.
            method.encode.copy_(torch.eye(5).expand(2, 5, 5))
            method.decode[0].zero_()
            method.decode[1].copy_(torch.eye(5))
        assert method.logits(FEATURES * 0.1).argmax(1).eq(winner).all()


@BOTH
def test_huge_features_are_clipped_and_stay_finite(kind):
    method = make(kind)
    features = (1e6 * FEATURES).requires_grad_()
    assert method.cell_logits(features).abs().max() == 100
    loss = method.loss(features, LABELS)
    loss.backward()
    assert loss.isfinite() and features.grad.isfinite().all()


def test_probabilities_too_small_for_float32_keep_their_logarithm():
    cells = torch.zeros(1, 2, 2, 2)
    cells[:, 0], cells[:, 1] = 100, -100
    assert softmax_then_average(cells)[0, 1].item() == pytest.approx(-200)


def test_gram_against_a_loop_and_without_overflow():
    for image, found in zip(FEATURES.flatten(2).tolist(), gram(FEATURES), strict=True):
        assert (found - torch.tensor(slow_gram(image))).abs().max() < 1e-5
    # 1000 to the power 16 is far beyond float32.
    assert torch.allclose(gram(1000 * FEATURES), 1e6 * gram(FEATURES), rtol=1e-5)
    assert torch.allclose(gram(1e-4 * FEATURES), 1e-8 * gram(FEATURES), rtol=1e-5, atol=0)
    assert torch.equal(gram(torch.zeros(1, 5, 2, 2)), torch.zeros(1, 5, 5))


@BOTH
@pytest.mark.parametrize("parts", [(0, 1, 2), (1,), [0, 2]])
def test_learned_score_against_a_loop(kind, parts):
    method = make(kind, parts=parts)
    features, labels = draw(40, seed=5)
    method.learn(lambda: zip(features.split(7), labels.split(7), strict=True))
    prototypes, grams = slow_statistics(method, features)
    training = torch.tensor(slow_parts(method, features, prototypes, grams))
    expected = torch.tensor(slow_parts(method, FEATURES, prototypes, grams))
    assert (method.score_parts(FEATURES) - expected).abs().max() < 1e-4
    standard = (expected - training.mean(0)) / training.std(0, correction=0)
    assert (method.unknown_score(FEATURES) + standard[:, list(parts)].sum(1)).abs().max() < 1e-3
    scores = method.unknown_score(features)
    assert scores.mean().abs() < 1e-4 and (len(parts) > 1 or abs(scores.std(correction=0) - 1) < 1e-4)


@BOTH
def test_statistics_are_those_of_predicted_classes_and_do_not_depend_on_the_batches(kind):
    features, labels = draw(40, seed=6)
    one, other = make(kind), make(kind)
    one.learn(lambda: zip(features.split(40), labels.split(40), strict=True))
    other.learn(lambda: zip(features.split(3), (labels.split(3)[0] * 0,) * 14, strict=True))
    for (name, ours), theirs in zip(one.named_buffers(), other.buffers(), strict=True):
        assert torch.allclose(ours.float(), theirs.float(), rtol=1e-4, atol=1e-5), name


@BOTH
def test_learning_again_forgets_what_was_learned(kind):
    features, labels = draw(30, seed=7)
    method, fresh = make(kind), make(kind)
    method.learn(lambda: [(3 * FEATURES, LABELS)])
    for each in (method, fresh):
        each.learn(lambda: [(features, labels)])
    assert torch.equal(method.unknown_score(FEATURES), fresh.unknown_score(FEATURES))


@BOTH
def test_a_class_that_nobody_is_predicted_as_gets_the_overall_means(kind):
    method = make(kind)
    with torch.no_grad():
        # The last class always rebuilds worst for PCSSR, best for RCSSR.
        method.decode[3] = 20.0 if kind is PCSSR else 0.0
        method.encode[3] = 5.0
    features, labels = draw(30, seed=8)
    predicted = method.logits(features).argmax(1)
    missing = sorted({0, 1, 2, 3} - set(predicted.tolist()))
    assert 3 in missing
    method.learn(lambda: [(features, labels)])
    assert torch.allclose(method.grams[3], gram(features).mean(0), rtol=1e-5)
    assert torch.allclose(method.prototypes.sum(0), torch.ones(5))
    assert all(value.isfinite().all() for value in method.state_dict().values())
    assert method.unknown_score(FEATURES).isfinite().all()


@BOTH
def test_dead_channels_and_empty_images_make_no_nan(kind):
    method = make(kind)
    features, labels = draw(20, seed=9)
    features[:, 2] = 0
    features[0] = 0
    method.learn(lambda: [(features, labels)])
    assert (method.prototypes[:, 2] == 0.25).all()
    assert method.unknown_score(features).isfinite().all()


def test_score_before_learn_is_the_first_part_alone():
    for kind in (PCSSR, RCSSR):
        method = make(kind)
        assert torch.equal(method.unknown_score(FEATURES), -method.score_parts(FEATURES)[:, 0])


@BOTH
def test_the_parts_of_one_image_do_not_depend_on_the_others(kind):
    method = make(kind)
    features, labels = draw(40, seed=10)
    method.learn(lambda: [(features, labels)])
    alone = torch.cat([method.unknown_score(image) for image in features.split(1)])
    assert torch.allclose(alone, method.unknown_score(features), atol=1e-4)


@BOTH
def test_learned_statistics_are_saved_and_copied(kind):
    method = make(kind)
    method.learn(lambda: [draw(20, seed=11)])
    copied, loaded = deepcopy(method), kind(5, 4, latent=3)
    loaded.load_state_dict(method.state_dict())
    for each in (copied, loaded):
        assert torch.equal(each.unknown_score(FEATURES), method.unknown_score(FEATURES))
        assert bool(each.learned)


@BOTH
def test_learning_from_nothing(kind):
    with pytest.raises(ValueError, match=f"{kind.name} .*given none"):
        make(kind).learn(lambda: [])


@BOTH
def test_evidence_at_each_cell_against_a_loop(kind):
    method = make(kind)
    evidence = method.evidence(FEATURES.clone().requires_grad_(), LABELS)
    assert evidence.shape == (6, 3, 4) and not evidence.requires_grad
    for b, (rows, label) in enumerate(zip(slow_cells(method, FEATURES), LABELS.tolist(), strict=True)):
        strength = FEATURES[b].abs().mean(0).flatten().tolist()
        alone = [slow_probabilities([[row[u]] for row in rows])[label] for u in range(12)]
        raw = [p * s for p, s in zip(alone, strength, strict=True)]
        expected = torch.tensor([(value - min(raw)) / (max(raw) - min(raw)) for value in raw])
        assert (evidence[b].flatten() - expected).abs().max() < 1e-4


@BOTH
def test_an_empty_cell_is_no_evidence(kind):
    """It is rebuilt perfectly, so that its PCSSR logit, 0, is the highest there is."""
    method, features = make(kind), FEATURES.clone()
    features[:, :, 1, 2] = 0
    assert (method.evidence(features, LABELS)[:, 1, 2] == 0).all()


@BOTH
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ten_steps_lower_the_loss(kind, precision):
    torch.manual_seed(0)
    backbone = create_backbone("compact-s", image_size=32, width=0.25)
    network = Network(backbone, kind(backbone.num_features, 3))
    images, labels = torch.randn(12, 3, 32, 32), torch.arange(12) % 3
    optimizer = torch.optim.SGD(network.parameters(), lr=0.4)
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
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.method.parameters())


@BOTH
def test_mixed_labels_share_one_pass_and_are_weighed(kind, monkeypatch):
    method, other, calls = make(kind), LABELS.flip(0), []
    expected = 0.3 * method.loss(FEATURES, LABELS) + 0.7 * method.loss(FEATURES, other)
    cell_logits = method.cell_logits
    monkeypatch.setattr(method, "cell_logits", lambda features: calls.append(1) or cell_logits(features))
    batch = TrainingBatch(FEATURES, LABELS, targets=((LABELS, 0.3), (other, 0.7)))
    features, loss = method.training_loss(lambda images: images, batch)
    assert features is FEATURES and len(calls) == 1
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    with pytest.raises(ValueError, match=f"{kind.name}: labels must lie in 0..3"):
        method.training_loss(lambda images: images, TrainingBatch(FEATURES, LABELS - 1))


@BOTH
def test_distances_are_not_rounded_under_autocast(kind):
    method = make(kind)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(method.cell_logits(FEATURES), make(kind).cell_logits(FEATURES))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": 0}, "pcssr needs a latent width"),
        ({"gamma": 0.0}, "pcssr needs gamma above 0"),
        ({"gamma": math.nan}, "pcssr needs gamma above 0"),
        ({"parts": ()}, "pcssr: parts"),
        ({"parts": (0, 3)}, "pcssr: parts"),
        ({"parts": (1, 1)}, "pcssr: parts"),
        ({"classes": 1}, "pcssr needs at least two"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@BOTH
def test_wrong_features_and_labels(kind):
    method = make(kind)
    for call in (method.logits, method.unknown_score):
        with pytest.raises(ValueError, match=f"{kind.name} takes feature maps"):
            call(FEATURES[:, :4])
    for call in (method.loss, method.evidence):
        with pytest.raises(ValueError, match=f"{kind.name}: labels must lie in 0..3"):
            call(FEATURES, LABELS - 1)


@BOTH
def test_the_exported_score_takes_any_number_of_images(kind):
    """Computed at once in place of in pieces of 16, whatever number it was exported with."""
    method = make(kind)
    features, labels = draw(40, seed=12)
    method.learn(lambda: [(features, labels)])

    class Score(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.method = method

        def forward(self, features):
            return self.method.unknown_score(features)

    most = {"max": 1000} if torch.__version__ < (2, 8) else {}  # torch 2.7 cannot go without.
    dynamic = {"features": {0: torch.export.Dim("batch", **most)}}
    with torch.no_grad():
        program = torch.export.export(Score(), (features[:2],), dynamic_shapes=dynamic, strict=True)
        for count in (1, 2, 16, 17, 40):
            asked = features[:count]
            assert torch.allclose(program.module()(asked), method.unknown_score(asked), rtol=1e-5, atol=1e-5)
