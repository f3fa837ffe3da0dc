"""Distances to class means against pytorch-ood in float64, loops, and answers known by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_ood_reference import clusters, in_float64

from backmix.detectors import Mahalanobis, PytorchOOD, mahalanobis


def fitted(features, labels, classes=None):
    detector = Mahalanobis()
    detector.fit(torch.zeros(len(labels), classes or int(labels.max()) + 1), features, labels)
    return detector


def slow_scores(training, labels, features):
    wide = training.double()
    means = torch.stack([wide[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
    sums = sum(torch.outer(x - means[y], x - means[y]) for x, y in zip(wide, labels, strict=True))
    precision = torch.linalg.pinv(sums, rtol=1e-6, hermitian=True)
    return torch.stack([min((x - m) @ precision @ (x - m) for m in means) / 2 for x in features.double()])


@pytest.mark.parametrize("uneven", [0.0, 1.0, 2.0, 2.8])
def test_agrees_with_pytorch_ood_in_float64(monkeypatch, uneven):
    ood = pytest.importorskip("pytorch_ood.detector")
    training, labels = clusters(uneven=uneven)
    training, features = 100 * training, 100 * clusters(60, seed=1, uneven=uneven)[0]
    with in_float64(monkeypatch):
        theirs = ood.Mahalanobis(None).fit_features(training.double(), labels).predict_features(features.double())
    found = fitted(training, labels)(None, features)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, theirs, rtol=1e-5, atol=0)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 8), st.integers(2, 40), st.booleans(), st.booleans())
def test_agrees_with_a_loop_whatever_the_shape(seed, classes, channels, more, repeated, single):
    """Few images, one class, repeated features and a singular covariance among them."""
    training, labels = clusters(classes + more, classes, channels, seed=seed)
    if repeated:
        training = torch.cat([training, training], 1)
    if single:
        training = torch.cat([training, torch.ones(len(training), 1)], 1)
    features = training[: classes + 2] + 0.5
    found = fitted(training, labels)(None, features)
    torch.testing.assert_close(found, slow_scores(training, labels, features), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_dtype(dtype):
    training, labels = clusters()
    training, features = training.to(dtype), clusters(20, seed=1)[0].to(dtype)
    found = fitted(training, labels)(None, features)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, slow_scores(training, labels, features), rtol=1e-5, atol=0)


def test_agrees_with_the_wrapped_detector_whose_thresholds_runs_keep():
    pytest.importorskip("pytorch_ood")
    training, labels = clusters(600)
    features = clusters(80, seed=1)[0]
    theirs = PytorchOOD("mahalanobis")
    logits = torch.zeros(600, 5)
    theirs.fit(logits, training, labels)
    found, expected = fitted(training, labels)(None, features), theirs(logits[:80], features)
    torch.testing.assert_close(found, expected.double(), rtol=1e-5, atol=0)


def test_known_answers():
    # Deviations (+-1, 0) and (0, +-2) of both classes: N S = diag(4, 16), with means (0, 0) and (10, 0).
    training = torch.tensor([[1.0, 0], [-1, 0], [0, 2], [0, -2], [11, 0], [9, 0], [10, 2], [10, -2]])
    detector = fitted(training, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))
    test = torch.tensor([[0.0, 0], [2, 0], [10, 4], [5, 1]])
    assert detector(None, test).tolist() == pytest.approx([0, 0.5, 0.5, (25 / 4 + 1 / 16) / 2], abs=1e-6)


def test_precision_is_single_where_that_is_enough_and_double_where_not():
    training, labels = clusters(400, channels=64, spread=2.0)
    assert fitted(training, labels).dtype == torch.float32
    uneven, labels = clusters(400, channels=64, uneven=2.9)
    turn = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(0))).Q
    detector = fitted(uneven @ turn, labels)
    features = clusters(50, channels=64, uneven=2.9, seed=1)[0] @ turn
    assert detector.dtype == torch.float64
    torch.testing.assert_close(
        detector(None, features), slow_scores(uneven @ turn, labels, features), rtol=1e-5, atol=0
    )


def test_far_from_zero_nothing_is_lost():
    training, labels = clusters()
    features = clusters(20, seed=1)[0]
    plain = fitted(training, labels)(None, features)
    moved = fitted(training.double() + 1e6, labels)(None, features.double() + 1e6)
    torch.testing.assert_close(moved, plain, rtol=1e-5, atol=0)


def test_blocks_do_not_count_nor_do_images_beside(monkeypatch):
    training, labels = clusters(300, channels=20)
    features = clusters(70, channels=20, seed=1)[0]
    whole = fitted(training, labels)(None, features)
    monkeypatch.setattr("backmix.detectors.blocks.ROWS", 7)
    monkeypatch.setattr(mahalanobis, "ROWS", 7)
    monkeypatch.setattr("backmix.detectors.blocks.PANEL", 3)
    detector = fitted(training, labels)
    torch.testing.assert_close(detector(None, features), whole, rtol=1e-5, atol=0)
    torch.testing.assert_close(detector(None, features[3:4]), whole[3:4], rtol=1e-5, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(detector(None, features + 0), whole, rtol=1e-5, atol=0)


def test_what_is_broken_alone_has_no_score_and_what_is_huge_has_one():
    training, labels = clusters()
    features = training[:4].clone()
    features[1, 2], features[2, 0], features[3] = float("nan"), float("inf"), 1e30
    detector = fitted(training, labels)
    scores = detector(None, features)
    assert scores.isnan().tolist() == [False, True, True, False] and scores[3].isfinite() and scores[3] > 1e20
    assert detector(None, torch.empty(0, 16)).shape == (0,)


def test_bad_input():
    training, labels = clusters()
    with pytest.raises(ValueError, match="mahalanobis: fit it on training images first"):
        Mahalanobis()(None, training)
    with pytest.raises(ValueError, match="mahalanobis: no training image of class number 5"):
        fitted(training, labels, 6)
    with pytest.raises(ValueError, match="mahalanobis: the features of no class vary"):
        fitted(torch.ones(10, 3), torch.arange(10) % 2)
    with pytest.raises(ValueError, match=r"mahalanobis: features must be \(B, C\) float.*fitted on 16 channels"):
        fitted(training, labels)(None, training[:, :4])
    with pytest.raises(ValueError, match="mahalanobis: the features of 1 of 300 training images are not finite"):
        fitted(training.index_fill(0, torch.tensor(3), float("nan")), labels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_other_integer_types(dtype):
    training, labels = clusters(60)
    found = fitted(training, labels.to(dtype), classes=5)(None, training[:7])
    assert torch.equal(found, fitted(training, labels)(None, training[:7]))
