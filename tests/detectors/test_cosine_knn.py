"""The cosine to the k-th most similar training image against a sort, and on answers known by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from backmix.detectors import CosineKNN, cosine_knn


def some_features(count, channels=6, seed=0):
    random = torch.Generator().manual_seed(seed)
    lengths = 10 ** (2 * torch.rand(count, 1, generator=random) - 1)
    return torch.randn(count, channels, generator=random) * lengths


def fitted(features, **options):
    detector = CosineKNN(**options)
    detector.fit(torch.zeros(len(features), 2), features, torch.arange(len(features)) % 2)
    return detector


def slow_scores(training, features, k):
    cosines = torch.cosine_similarity(features.double()[:, None], training.double()[None], dim=2)
    return torch.stack([-torch.tensor(sorted(row.tolist(), reverse=True)[k - 1]) for row in cosines])


@pytest.mark.parametrize("k", [1, 3, 30])
@pytest.mark.parametrize("block", [1, 7, 1024])
def test_agrees_with_a_sort_whatever_the_blocks(monkeypatch, k, block):
    monkeypatch.setattr(cosine_knn, "NEIGHBOURS", block)
    training, features = some_features(40), some_features(25, seed=1)
    found = fitted(training, k=k)(None, features)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, slow_scores(training, features, k).double(), rtol=0, atol=1e-6)


def test_known_answers():
    training = torch.tensor([[5.0, 0.0], [0.0, 0.2], [-1.0, 0.0]])
    test = torch.tensor([[3.0, 4.0], [-7.0, 0.0], [0.0, 0.0]])
    assert fitted(training)(None, test).tolist() == pytest.approx([-0.8, -1, 0], abs=1e-7)
    assert fitted(training, k=2)(None, test).tolist() == pytest.approx([-0.6, 0, 0], abs=1e-7)
    assert fitted(training, k=3)(None, test).tolist() == pytest.approx([0.6, 1, 0], abs=1e-7)
    # There is no fourth image, so the farthest counts.
    assert torch.equal(fitted(training, k=4)(None, test), fitted(training, k=3)(None, test))


def test_a_training_image_has_itself_beside_it():
    training = some_features(300)
    torch.testing.assert_close(fitted(training)(None, training), -torch.ones(300).double(), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(1e-20, 1e20))
def test_order_and_length_do_not_count(seed, k, factor):
    training, features = some_features(30, seed=seed), some_features(8, seed=seed + 1).double()
    scores = fitted(training, k=k)(None, features)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(fitted(training[order], k=k)(None, features * factor), scores, rtol=0, atol=1e-6)
    torch.testing.assert_close(fitted(training, k=k)(None, features[3:4]), scores[3:4], rtol=0, atol=1e-6)
    assert (fitted(training, k=k + 1)(None, features) >= scores - 1e-6).all()


class Largest(TorchDispatchMode):
    """The largest number of values in one result."""

    values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.values = max(self.values, result.numel())
        return result


def test_memory_does_not_grow_with_images_times_training_images():
    training, features = some_features(9000), some_features(300, seed=1)
    with Largest() as fit:
        detector = fitted(training)
    assert fit.values <= 9000 * 6
    with Largest() as scoring:
        detector(None, features)
    assert scoring.values <= 300 * 1024  # All cosines at once would be 300 x 9000.


def test_what_is_broken_alone_has_no_score():
    features = some_features(4, seed=1)
    features[1, 2], features[2, 0] = float("nan"), float("inf")
    for k in (1, 2):
        assert fitted(some_features(40), k=k)(None, features).isnan().tolist() == [False, True, True, False]
    assert fitted(some_features(40))(None, torch.empty(0, 6)).shape == (0,)


def test_bad_input():
    with pytest.raises(ValueError, match="cosine_knn: k is the neighbour that counts, 1 or more; got 0"):
        CosineKNN(k=0)
    with pytest.raises(ValueError, match="cosine_knn: fit it on training images first"):
        CosineKNN()(None, some_features(3))
    with pytest.raises(ValueError, match=r"cosine_knn: features must be \(B, C\) float.*fitted on 6 channels"):
        fitted(some_features(40))(None, some_features(3, 5))
