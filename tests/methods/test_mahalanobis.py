"""The head of Mahalanobis distances against the detector and against scikit-learn's discriminant."""

import pytest
import torch

from backmix.detectors import ShrunkMahalanobis
from backmix.methods import Mahalanobis


def drawn(count=60, classes=3, channels=8, seed=0):
    """Feature maps (count, channels, 1, 1) of unequal variances around a direction for each class, with labels."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    spread = torch.linspace(0.05, 1, channels)
    rows = 3 * torch.eye(classes, channels)[labels] + spread * torch.randn(count, channels, generator=random)
    return rows[:, :, None, None], labels


def learned(features, labels):
    method = Mahalanobis(features.shape[1], int(labels.max()) + 1).eval()
    method.learn(lambda: [(features, labels)])
    return method


@pytest.mark.parametrize(("count", "channels"), [(60, 8), (30, 100)])
def test_the_score_is_that_of_the_detector(count, channels):
    training, labels = drawn(count, channels=channels)
    features = drawn(20, channels=channels, seed=1)[0]
    method, detector = learned(training, labels), ShrunkMahalanobis()
    detector.fit(torch.zeros(count, 3), training[:, :, 0, 0], labels)
    expected = detector(None, features[:, :, 0, 0]).float()
    torch.testing.assert_close(method.unknown_score(features), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(method.logits(features).amax(1), -method.unknown_score(features) / 2)
    assert float(method.shrinkage) == pytest.approx(detector.shrinkage)


def test_the_probabilities_are_those_of_a_linear_discriminant():
    discriminant = pytest.importorskip("sklearn.discriminant_analysis")
    training, labels = drawn()
    features = drawn(20, seed=1)[0]
    method = learned(training, labels)
    # The whole covariance is given, so that only the rest is compared.
    given = (method.whitening.double() @ method.whitening.double().T).inverse()

    class Given:
        def fit(self, rows):
            self.covariance_ = given.numpy()
            return self

    unit = [(x[:, :, 0, 0] / x[:, :, 0, 0].norm(dim=1, keepdim=True)).double().numpy() for x in (training, features)]
    theirs = discriminant.LinearDiscriminantAnalysis(
        solver="lsqr", covariance_estimator=Given(), priors=[1 / 3] * 3
    ).fit(unit[0], labels.numpy())
    expected = torch.from_numpy(theirs.predict_proba(unit[1])).float()
    torch.testing.assert_close(method.logits(features).softmax(1), expected, rtol=1e-3, atol=1e-4)


def test_logits_less_their_mean_are_linear_in_the_weights_of_the_evidence():
    training, labels = drawn()
    method = learned(training, labels)
    rows = torch.randn(10, 8, generator=torch.Generator().manual_seed(2))
    rows = rows / rows.norm(dim=1, keepdim=True)
    logits = method.logits(rows[:, :, None, None])
    centred = logits - logits.mean(1, keepdim=True)
    weight = method.means @ method.whitening.T
    linear = (rows - method.centre) @ weight.T
    bias = -method.means.square().sum(1) / 2
    torch.testing.assert_close(centred, linear + bias - bias.mean(), rtol=1e-3, atol=1e-3)
    features = torch.randn(10, 8, 3, 4, generator=torch.Generator().manual_seed(3))
    wanted = torch.arange(10) % 3
    maps = torch.einsum("bchw,bc->bhw", features, weight[wanted]).relu()
    maps = maps - maps.amin((1, 2), keepdim=True)
    torch.testing.assert_close(method.evidence(features, wanted), maps / maps.amax((1, 2), keepdim=True))


def test_before_it_learns_all_classes_are_equal():
    logits = Mahalanobis(8, 3).logits(drawn(5)[0])
    torch.testing.assert_close(logits, torch.full((5, 3), -0.5))
