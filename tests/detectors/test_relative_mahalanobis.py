"""Differences of Mahalanobis distances against pytorch-ood in float64, loops, and answers known by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_ood_reference import clusters, in_float64

from backmix.detectors import PytorchOOD, RelativeMahalanobis


def fitted(features, labels, classes=None):
    detector = RelativeMahalanobis()
    detector.fit(torch.zeros(len(labels), classes or int(labels.max()) + 1), features, labels)
    return detector


def slow_scores(training, labels, features):
    """Both distances, each with its own inverse, where both covariances have one."""
    wide = training.double()
    means = torch.stack([wide[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
    within, whole = wide - means[labels], wide - wide.mean(0)
    inner, outer = torch.linalg.inv(within.T @ within), torch.linalg.inv(whole.T @ whole)
    scores = []
    for x in features.double():
        background = (x - wide.mean(0)) @ outer @ (x - wide.mean(0))
        scores.append(min((x - m) @ inner @ (x - m) for m in means) - background)
    return torch.stack(scores)


@pytest.mark.parametrize("uneven", [0.0, 1.0, 2.0])
def test_agrees_with_pytorch_ood_in_float64(monkeypatch, uneven):
    ood = pytest.importorskip("pytorch_ood.detector")
    training, labels = clusters(uneven=uneven)
    training, features = 100 * training, 100 * clusters(60, seed=1, uneven=uneven)[0]
    with in_float64(monkeypatch):
        theirs = ood.RMD(None).fit_features(training.double(), labels).predict_features(features.double())
    found = fitted(training, labels)(None, features)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().mean().item())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 6), st.integers(12, 40))
def test_agrees_with_two_distances_whatever_the_shape(seed, classes, channels, more):
    """More classes than channels, and one class, among them."""
    training, labels = clusters(classes + more, classes, channels, seed=seed)
    features = clusters(20, classes, channels, seed=seed + 1)[0] + 0.5
    expected = slow_scores(training, labels, features)
    found = fitted(training, labels)(None, features)
    scale = Distances(training, labels)(features)
    assert ((found - expected).abs() <= 1e-7 * scale).all()


class Distances:
    """The distance to the nearest class mean, which the score is a difference of."""

    def __init__(self, training, labels):
        wide = training.double()
        self.means = torch.stack([wide[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
        within = wide - self.means[labels]
        self.inner = torch.linalg.inv(within.T @ within)

    def __call__(self, features):
        gaps = features.double()[:, None] - self.means
        return ((gaps @ self.inner) * gaps).sum(2).amin(1)


@pytest.mark.parametrize("channels", [16, 116, 200])
def test_agrees_with_the_wrapped_detector_whose_thresholds_runs_keep(monkeypatch, channels):
    """Also where the covariance has no inverse."""
    pytest.importorskip("pytorch_ood")
    logits, (training, labels) = torch.zeros(120, 4), clusters(120, 4, channels)
    features = clusters(80, 4, channels, seed=1)[0]
    theirs = PytorchOOD("rmd")
    with in_float64(monkeypatch):
        theirs.fit(logits, training, labels)
        expected = theirs(logits[:80], features)
    found = fitted(training, labels)(None, features)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.std().item())
    theirs.fit(logits, training, labels)
    # By itself the wrapped one subtracts two large distances in float32.
    expected = theirs(logits[:80], features).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3 * expected.std().item())


def test_known_answers():
    # One channel: means -1 and 1, N S = 4, and the sum of squares about the mean of all is 8.
    training = torch.tensor([[-2.0], [0.0], [0.0], [2.0]])
    detector = fitted(training, torch.tensor([0, 0, 1, 1]))
    test = torch.tensor([[0.0], [1.0], [3.0]])
    assert detector(None, test).tolist() == pytest.approx([1 / 4, -1 / 8, 1 - 9 / 8])


def test_of_one_class_every_score_is_zero():
    training = clusters(50, 1, 4)[0]
    scores = fitted(training, torch.zeros(50, dtype=torch.int64))(None, 5 * clusters(20, 1, 4, seed=1)[0])
    assert scores.abs().max() < 1e-9


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype(dtype):
    training, labels = clusters()
    training, features = training.to(dtype), clusters(20, seed=1)[0].to(dtype)
    expected = slow_scores(training, labels, features)
    torch.testing.assert_close(fitted(training, labels)(None, features), expected, rtol=1e-6, atol=1e-9)


def test_what_is_broken_alone_has_no_score():
    training, labels = clusters()
    features = training[:4].clone()
    features[1, 2], features[2, 0] = float("nan"), float("inf")
    detector = fitted(training, labels)
    assert detector(None, features).isnan().tolist() == [False, True, True, False]
    assert detector(None, torch.empty(0, 16)).shape == (0,)


def test_bad_input():
    training, labels = clusters()
    with pytest.raises(ValueError, match="rmd: fit it on training images first"):
        RelativeMahalanobis()(None, training)
    with pytest.raises(ValueError, match="rmd: no training image of class number 5"):
        fitted(training, labels, 6)
    with pytest.raises(ValueError, match="rmd: the features of no class vary"):
        fitted(torch.ones(10, 3), torch.arange(10) % 2)
    with pytest.raises(ValueError, match=r"rmd: features must be \(B, C\) float.*fitted on 16 channels"):
        fitted(training, labels)(None, training[:, :4])
