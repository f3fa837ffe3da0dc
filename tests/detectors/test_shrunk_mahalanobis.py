"""Mahalanobis with a shrunk covariance against scikit-learn, and on answers known by hand."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.detectors import ShrunkMahalanobis
from backmix.metrics.figures import auroc

covariance = pytest.importorskip("sklearn.covariance")


def clusters(count=90, classes=3, channels=8, seed=0):
    """Features (count, channels) of unequal variances around a direction for each class, with labels."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    spread = torch.linspace(0.05, 1, channels)
    return 3 * torch.eye(classes, channels)[labels] + spread * torch.randn(count, channels, generator=random), labels


def fitted(features, labels):
    detector = ShrunkMahalanobis()
    detector.fit(torch.zeros(len(labels), int(labels.max()) + 1), features, labels)
    return detector


def slow_scores(training, labels, features):
    """With the inverse of scikit-learn's covariance, one image and one class after the other."""
    rows, test = (x.double() / x.double().norm(dim=1, keepdim=True) for x in (training, features))
    means = torch.stack([rows[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
    found = covariance.LedoitWolf(assume_centered=True).fit((rows - means[labels]).numpy())
    inverse = torch.linalg.inv(torch.from_numpy(found.covariance_))
    scores = [min(float((z - mean) @ inverse @ (z - mean)) for mean in means) for z in test]
    return torch.tensor(scores, dtype=torch.float64), found.shrinkage_


@pytest.mark.parametrize(
    ("count", "classes", "channels"), [(90, 3, 8), (30, 5, 8), (40, 3, 100), (60, 3, 100), (3000, 4, 20)]
)
def test_agrees_with_scikit_learn(count, classes, channels):
    training, labels = clusters(count, classes, channels)
    features = clusters(20, classes, channels, seed=1)[0]
    expected, shrinkage = slow_scores(training, labels, features)
    detector = fitted(training, labels)
    assert 0 < shrinkage < 1 and detector.shrinkage == pytest.approx(shrinkage, rel=1e-9)
    found = detector(None, features)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_known_answers():
    # On the circle at +-90, +-a degrees from two class directions; by hand, with cos a = 0.8 and sin a = 0.6:
    # means (0.8, 0) and (-0.8, 0), deviations (0, +-0.6), so S = diag(0, 0.36), m = 0.18, |S - m I|^2 = 0.0648,
    # sum |r|^4 / N^2 = 0.0324, |S|^2 / N = 0.0324, b = 0; the bound is s = 1 / (4 - 2 + 1).
    training = torch.tensor([[0.8, 0.6], [8.0, -6.0], [-0.8, 0.6], [-4.0, -3.0]])
    detector = fitted(training, torch.tensor([0, 0, 1, 1]))
    assert detector.shrinkage == pytest.approx(1 / 3)
    # The covariance is diag(0.06, 0.3).
    test = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-0.8, 0.6], [0.0, 0.0]])
    expected = [0.04 / 0.06, 0.64 / 0.06 + 1 / 0.3, 0.36 / 0.3, 0.64 / 0.06]
    assert detector(None, test).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("channels", [5, 20])
@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0, 1, 1, 2, 2, 2]])
def test_without_deviations_the_distance_is_euclidean(labels, channels):
    labels = torch.tensor(labels)
    training = torch.eye(3, channels)[labels] * torch.arange(1, len(labels) + 1)[:, None]
    detector = fitted(training, labels)
    assert detector.shrinkage == 1
    test = torch.zeros(4, channels)
    test[:3, :4] = torch.tensor([[9.0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0]])
    expected = [0, channels * 2, channels * (2 - 2**0.5), channels]
    assert detector(None, test).tolist() == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(1, 12), st.integers(0, 30))
def test_scores_are_finite_with_however_few_images(seed, classes, channels, more):
    training, labels = clusters(classes + more, classes, max(channels, classes), seed=seed)
    features = clusters(20, classes, max(channels, classes), seed=seed + 1)[0]
    detector = fitted(training, labels)
    scores = detector(None, features)
    assert scores.isfinite().all() and (scores >= 0).all() and 0 < detector.shrinkage <= 1
    # The product with the whitening matrix is the inverse covariance.
    torch.testing.assert_close(detector(None, 7 * features), scores, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(detector(None, features[2:3]), scores[2:3], rtol=1e-9, atol=1e-9)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(fitted(training[order], labels[order])(None, features), scores, rtol=1e-6, atol=1e-6)


def test_turning_the_features_turns_nothing():
    training, labels = clusters()
    features = clusters(20, seed=1)[0]
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    turned = fitted(training.double() @ turn, labels)(None, features.double() @ turn)
    torch.testing.assert_close(turned, fitted(training, labels)(None, features), rtol=1e-9, atol=1e-9)


def test_one_channel_is_a_multiple_of_the_identity_already():
    detector = fitted(torch.tensor([[1.0], [-2.0], [3.0], [-1.0]]), torch.tensor([0, 0, 1, 1]))
    assert detector.shrinkage == 1 and detector(None, torch.tensor([[5.0], [0.0]])).tolist() == [1, 0]


def test_it_finds_unknowns_where_there_are_many_more_channels_than_images():
    random = torch.Generator().manual_seed(0)
    mixing = torch.randn(200, 200, generator=random) / 200**0.5
    directions = torch.randn(12, 200, generator=random)

    def drawn(kinds, each):
        labels = torch.tensor(kinds).repeat_interleave(each)
        return (directions[labels] + 2 * torch.randn(len(labels), 200, generator=random)) @ mixing, labels

    training, labels = drawn(list(range(6)), 10)
    detector = fitted(training, labels)
    known, unknown = (detector(None, drawn(kinds, 30)[0]) for kinds in (list(range(6)), list(range(6, 12))))
    assert auroc(known, unknown) > 0.75


def test_half_precision_is_as_good():
    training, labels = clusters(300)
    features = clusters(50, seed=1)[0]
    found = fitted(training.half(), labels)(None, features)
    torch.testing.assert_close(found, fitted(training, labels)(None, features), rtol=0.02, atol=0.02)


def test_what_is_broken_alone_has_no_score():
    training, labels = clusters()
    features = training[:4].clone()
    features[1, 2], features[2, 0] = float("nan"), float("inf")
    detector = fitted(training, labels)
    assert detector(None, features).isnan().tolist() == [False, True, True, False]
    assert detector(None, torch.empty(0, 8)).shape == (0,)


def test_bad_input():
    training, labels = clusters()
    with pytest.raises(ValueError, match="shrunk_mahalanobis: fit it on training images first"):
        ShrunkMahalanobis()(None, training)
    with pytest.raises(ValueError, match=r"shrunk_mahalanobis: features must be \(B, C\) float.*fitted on 8 channels"):
        fitted(training, labels)(None, training[:, :4])


@pytest.mark.parametrize(("count", "limit"), [(700, 3), (300, 0.6)])
def test_the_fit_is_quick(count, limit):
    training, labels = clusters(count, 10, 1280)
    start = time.process_time()
    fitted(training, labels)
    # It takes 0.2 s on one core, and 0.03 s where there are few images; the rest is for slow machines.
    assert time.process_time() - start < limit
