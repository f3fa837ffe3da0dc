"""The cosine to the nearest class mean against loops, and on answers known by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.detectors import CosineMean


def clusters(count=60, classes=4, channels=6, seed=0):
    """Features (count, channels) around a direction for each class, of lengths from 0.1 to 10, with labels."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    features = 3 * torch.eye(classes, channels)[labels] + torch.randn(count, channels, generator=random)
    return features * 10 ** (2 * torch.rand(count, 1, generator=random) - 1), labels


def fitted(features, labels):
    detector = CosineMean()
    detector.fit(torch.zeros(len(labels), int(labels.max()) + 1), features, labels)
    return detector


def slow_unit(row):
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row] if length else list(row)


def slow_scores(training, labels, features):
    means = []
    for k in sorted(set(labels)):
        rows = [slow_unit(row) for row, label in zip(training, labels) if label == k]
        means.append(slow_unit([sum(column) / len(rows) for column in zip(*rows)]))
    return [-max(sum(a * b for a, b in zip(slow_unit(row), mean)) for mean in means) for row in features]


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_loops(seed):
    training, labels = clusters(seed=seed)
    features = clusters(seed=seed + 10)[0]
    expected = slow_scores(training.double().tolist(), labels.tolist(), features.double().tolist())
    found = fitted(training, labels)(None, features)
    assert found.dtype == torch.float64 and len(set(expected)) == len(expected)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_known_answers():
    # The class means point along (1, 0) and along (1, 1): each image counts by its direction, not by its length.
    training = torch.tensor([[2.0, 1.0], [20.0, -10.0], [0.0, 0.1], [7.0, 0.0]])
    detector = fitted(training, torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(detector.means, torch.tensor([[1.0, 0.0], [0.5**0.5, 0.5**0.5]], dtype=torch.float64))
    test = torch.tensor([[3.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [-1.0, -1.0], [0.0, 0.0]])
    expected = [-1, -(0.5**0.5), 0.5**0.5, 0.5**0.5, 0]
    assert detector(None, test).tolist() == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-30, 1e30))
def test_length_does_not_count_and_batches_do_not(seed, factor):
    training, labels = clusters(seed=seed)
    features = clusters(9, seed=seed + 1)[0].double()
    detector = fitted(training, labels)
    scores = detector(None, features)
    assert (scores.abs() <= 1 + 1e-12).all()
    torch.testing.assert_close(detector(None, features * factor), scores, rtol=0, atol=1e-12)
    torch.testing.assert_close(detector(None, features[4:5]), scores[4:5], rtol=0, atol=1e-12)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    again = fitted(training[order], labels[order])
    torch.testing.assert_close(again(None, features), scores, rtol=0, atol=1e-12)


def test_a_class_whose_images_cancel_out_is_never_near():
    detector = fitted(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]), torch.tensor([0, 0, 1, 1]))
    assert detector(None, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).tolist() == [0, -1, 0]


def test_what_is_broken_alone_has_no_score():
    training, labels = clusters()
    detector = fitted(training, labels)
    features = training[:4].clone()
    features[1, 2], features[2, 0] = float("nan"), float("inf")
    assert detector(None, features).isnan().tolist() == [False, True, True, False]
    assert detector(None, torch.empty(0, 6)).shape == (0,)


def test_bad_input():
    training, labels = clusters()
    with pytest.raises(ValueError, match="cosine_mean: fit it on training images first"):
        CosineMean()(None, training)
    detector = fitted(training, labels)
    for features in (training[:, :4], training[0], training.long(), training[:, :, None]):
        with pytest.raises(ValueError, match=r"cosine_mean: features must be \(B, C\) float.*fitted on 6 channels"):
            detector(None, features)
