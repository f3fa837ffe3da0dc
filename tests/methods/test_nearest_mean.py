"""Nearest class mean against loops, its scale against a grid, and answers known by hand."""

import math

import pytest
import torch

from backmix.methods import NearestMean
from backmix.methods.nearest_mean import LARGEST, USUAL, left_out_cosines, likely_scale
from backmix.methods.unit_features import unit_class_means


def drawn(count=40, classes=3, channels=8, seed=0, spread=1.0):
    """Feature maps (count, channels, 2, 3) around a direction for each class, with labels."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    rows = 2 * torch.eye(classes, channels)[labels] + spread * torch.randn(count, channels, generator=random)
    noise = torch.randn(count, channels, 2, 3, generator=random)
    return rows[:, :, None, None] + noise - noise.mean((2, 3), keepdim=True), labels


def learned(features, labels, **options):
    method = NearestMean(features.shape[1], int(labels.max()) + 1, **options).eval()
    method.learn(lambda: [(features, labels)])
    return method


def slow_cosine(a, b):
    return float(a @ b / max(float(a.norm() * b.norm()), 1e-300))


def slow_means(rows, labels, without=None):
    unit = [row / row.norm() for row in rows]
    return [
        torch.stack([u for i, u in enumerate(unit) if labels[i] == k and i != without]).mean(0)
        for k in range(int(labels.max()) + 1)
    ]


def test_against_a_loop():
    features, labels = drawn()
    others = drawn(seed=1)[0]
    method = learned(features, labels)
    means = slow_means(features.double().mean((2, 3)), labels)
    cosines = torch.tensor([[slow_cosine(f, m) for m in means] for f in others.double().mean((2, 3))])
    torch.testing.assert_close(method.logits(others), float(method.scale) * cosines, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(method.unknown_score(others), -cosines.amax(1), rtol=1e-5, atol=1e-6)
    assert method.logits(others).dtype == method.unknown_score(others).dtype == torch.float32


def test_known_answers():
    method = NearestMean(2, 2, temperature=0.5)
    method.learn(lambda: [(torch.tensor([[3.0, 0.0], [0.0, 9.0]])[:, :, None, None], torch.tensor([0, 1]))])
    features = torch.tensor([[3.0, 4.0], [-1.0, 0.0], [0.0, 0.0]])[:, :, None, None]
    torch.testing.assert_close(method.logits(features), 2 * torch.tensor([[0.6, 0.8], [-1.0, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(method.unknown_score(features), torch.tensor([-0.8, 0.0, 0.0]))


def test_left_out_cosines_against_a_loop():
    features, labels = drawn(12)
    rows = features.mean((2, 3)).double()
    found = left_out_cosines(rows, labels, unit_class_means(rows, labels, 3))
    for i in range(12):
        expected = [slow_cosine(rows[i], m) for m in slow_means(rows, labels, without=i)]
        assert found[i].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
def test_the_scale_is_the_most_likely_one(spread):
    features, labels = drawn(60, spread=spread)
    rows = features.mean((2, 3))
    cosines = left_out_cosines(rows, labels, unit_class_means(rows, labels, 3))

    def likelihood(scale):
        return float((scale * cosines).log_softmax(1).gather(1, labels[:, None]).mean())

    scale = float(learned(features, labels).scale)
    assert 0 < scale < LARGEST and scale == pytest.approx(likely_scale(cosines, labels), rel=1e-6)
    best = max(likelihood(each) for each in torch.linspace(0, LARGEST, 2001).tolist())
    assert likelihood(scale) >= best - 1e-12


def test_scales_at_the_ends():
    cosines, labels = torch.tensor([[0.9, 0.1], [0.2, 0.3]], dtype=torch.float64), torch.tensor([0, 1])
    assert likely_scale(cosines, labels) == pytest.approx(LARGEST)  # All are right.
    assert likely_scale(cosines, 1 - labels) == pytest.approx(0, abs=1e-9)  # All are wrong.
    alone = torch.tensor([[math.nan, 0.1], [0.2, math.nan]], dtype=torch.float64)
    assert likely_scale(alone, labels) == USUAL
    assert likely_scale(torch.cat([alone, cosines]), labels.repeat(2)) == pytest.approx(LARGEST)


def test_an_image_that_is_alone_in_its_class_does_not_count():
    features, labels = drawn(30)
    one, last = drawn(1, seed=5)[0], torch.tensor([3])
    rows = torch.cat([features, one]).mean((2, 3))
    cosines = left_out_cosines(rows, torch.cat([labels, last]), unit_class_means(rows, torch.cat([labels, last]), 4))
    assert cosines[-1].isnan().tolist() == [False, False, False, True] and cosines[:-1].isfinite().all()
    assert float(learned(rows[:, :, None, None], torch.cat([labels, last])).scale) != pytest.approx(USUAL)


def test_one_image_in_each_class_is_the_nearest_image():
    features, _ = drawn(5, classes=5)
    method = learned(features, torch.arange(5))
    assert method.logits(features).argmax(1).tolist() == list(range(5))
    assert float(method.scale) == pytest.approx(USUAL)
    torch.testing.assert_close(method.unknown_score(features), -torch.ones(5))


def test_another_class_leaves_the_scores_of_the_others():
    features, labels = drawn(40, classes=4)
    few = learned(features[labels < 3], labels[labels < 3], temperature=1)
    assert torch.equal(learned(features, labels, temperature=1).logits(features)[:, :3], few.logits(features))


def test_evidence_is_where_the_class_is():
    method = learned(*drawn())
    features = torch.zeros(2, 8, 3, 3)
    features[:, :, 0, 0] = method.means[1]
    features[:, :, 2, 2] = method.means[2]
    maps = method.evidence(features, torch.tensor([1, 2]))
    assert maps[0].argmax() == 0 and maps[1].argmax() == 8 and not maps.requires_grad


def test_bad_input():
    with pytest.raises(ValueError, match="nearest-mean: temperature is above 0; got 0"):
        NearestMean(4, 2, temperature=0)
    features, labels = drawn()
    features[3, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="nearest-mean: the features of 1 of 40 training images are not finite"):
        learned(features, labels)
