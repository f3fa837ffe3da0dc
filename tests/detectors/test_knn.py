"""Distances to the k-th nearest training image against scikit-learn, pytorch-ood, a sort, and known answers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_ood_reference import clusters

from backmix.detectors import KNN, CosineKNN, PytorchOOD


def fitted(features, labels=None, **options):
    labels = torch.arange(len(features)) % 2 if labels is None else labels
    detector = KNN(**options)
    detector.fit(torch.zeros(len(features), int(labels.max()) + 1), features, labels)
    return detector


def slow_scores(training, features, k, normalize=True):
    training, features = training.double(), features.double()
    if normalize:
        training, features = (x / x.norm(dim=1, keepdim=True).clamp(min=1e-12) for x in (training, features))
    gaps = (features[:, None] - training).square().sum(2).sqrt()
    return gaps.sort(1).values[:, k - 1]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("k", [1, 7, 50])
@pytest.mark.parametrize("channels", [3, 64])
def test_agrees_with_pytorch_ood(k, normalize, channels):
    pytest.importorskip("pytorch_ood")
    training, labels = clusters(400, channels=channels)
    features = clusters(90, channels=channels, seed=1)[0]
    theirs = PytorchOOD("knn", k=k, normalize=normalize)
    theirs.fit(torch.zeros(400, 5), training, labels)
    expected = theirs(torch.zeros(90, 5), features).double()
    found = fitted(training, labels, k=k, normalize=normalize)(None, features)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.integers(1, 9),
    st.integers(2, 60),
    st.booleans(),
    st.sampled_from([1.0, 1e-3, 1e-6, 0.0]),
)
def test_agrees_with_a_sort_however_close_the_images_are(seed, channels, k, count, normalize, spread):
    """Copies, and features that differ in the last digits of float32, among them."""
    random = torch.Generator().manual_seed(seed)
    centre = torch.randn(channels, generator=random) + 3
    training = centre + spread * torch.randn(count, channels, generator=random)
    training[count // 2 :] = training[: count - count // 2].clone()
    features = centre + spread * torch.randn(10, channels, generator=random)
    k = min(k, count)
    found = fitted(training, k=k, normalize=normalize)(None, features)
    # Of features of length 1 the last digits of float32 are lost before anything is compared.
    tolerance = 2e-7 if normalize else 1e-12
    torch.testing.assert_close(found, slow_scores(training, features, k, normalize), rtol=1e-5, atol=tolerance)


def test_known_answers():
    training = torch.tensor([[5.0, 0.0], [0.0, 0.2], [-1.0, 0.0], [0.0, 0.0]])
    test = torch.tensor([[3.0, 4.0], [-7.0, 0.0], [0.0, 0.0]])
    # Of features that are zero the length stays zero, and they lie at distance 1 from all others.
    assert fitted(training, k=1)(None, test).tolist() == pytest.approx([0.4**0.5, 0, 0], abs=1e-7)
    assert fitted(training, k=2)(None, test).tolist() == pytest.approx([0.8**0.5, 1, 1], abs=1e-7)
    assert fitted(training, k=4)(None, test).tolist() == pytest.approx([3.2**0.5, 2, 1], abs=1e-7)
    plain = fitted(training, k=1, normalize=False)
    assert plain(None, test).tolist() == pytest.approx([20**0.5, 6, 0], rel=1e-7)


def test_the_neighbour_follows_the_smallest_class_unless_asked_for():
    training, labels = clusters(30)
    assert KNN().k is None and fitted(training, labels).k == 6 and fitted(training, labels, k=3).k == 3
    training, labels = clusters(600)
    detector = fitted(training, labels)
    assert detector.k == 50
    detector.fit(torch.zeros(30, 5), training[:30], labels[:30])
    assert detector.k == 6


def test_the_order_is_that_of_the_cosine():
    training, labels = clusters(200)
    features = clusters(50, seed=1)[0]
    cosine = CosineKNN(k=5)
    cosine.fit(torch.zeros(200, 5), training, labels)
    distances = fitted(training, labels, k=5)(None, features)
    torch.testing.assert_close(distances.square() / 2 - 1, cosine(None, features), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype(dtype):
    training, features = clusters()[0].to(dtype), clusters(20, seed=1)[0].to(dtype)
    found = fitted(training, k=4)(None, features)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, slow_scores(training, features, 4), rtol=1e-5, atol=2e-7)


def test_what_is_broken_alone_has_no_score_and_nothing_changes():
    training = clusters()[0]
    features = training[:4].clone()
    features[1, 2], features[2, 0] = float("nan"), float("inf")
    before = training.clone()
    for normalize in (True, False):
        detector = fitted(training, k=2, normalize=normalize)
        assert detector(None, features).isnan().tolist() == [False, True, True, False]
        assert detector(None, torch.empty(0, 16)).shape == (0,)
        training += 1  # What was kept is a copy.
        other = fitted(before, k=2, normalize=normalize)
        assert torch.equal(detector(None, before[:9]), other(None, before[:9]))
        training.copy_(before)


def test_bad_input():
    training, labels = clusters()
    with pytest.raises(ValueError, match="knn: k is the neighbour that counts, 1 or more; got 0"):
        KNN(k=0)
    with pytest.raises(ValueError, match="knn: fit it on training images first"):
        KNN()(None, training)
    with pytest.raises(ValueError, match="knn: k = 301 is more than the 300 training images"):
        fitted(training, labels, k=301)
    with pytest.raises(ValueError, match=r"knn: features must be \(B, C\) float.*fitted on 16 channels"):
        fitted(training, labels)(None, training[:, :4])
    with pytest.raises(ValueError, match="knn: the features of 1 of 300 training images are not finite"):
        fitted(training.index_fill(0, torch.tensor(3), float("nan")), labels)
