"""Votes of the nearest training images against a loop, and states of any number of images."""

import math

import pytest
import torch

from backmix.detectors import CosineKNN
from backmix.methods import KNearest
from backmix.methods.k_nearest import NEIGHBOURS


def drawn(count=40, classes=3, channels=8, seed=0):
    """Feature maps (count, channels, 1, 1) around a direction for each class, with labels."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    rows = 2 * torch.eye(classes, channels)[labels] + torch.randn(count, channels, generator=random)
    return rows[:, :, None, None], labels


def learned(features, labels, classes=3, **options):
    method = KNearest(features.shape[1], classes, **options).eval()
    method.learn(lambda: [(features, labels)])
    return method


def slow_logits(training, labels, features, k, temperature, classes=3):
    unit = training[:, :, 0, 0].double() / training[:, :, 0, 0].double().norm(dim=1, keepdim=True)
    logits, scores = [], []
    for f in features[:, :, 0, 0].double():
        cosines = sorted(((float(f @ u / f.norm()), int(y)) for u, y in zip(unit, labels)), reverse=True)[:k]
        weights = [math.exp((c - 1) / temperature) for c, _ in cosines]
        votes = [sum(w for w, (_, y) in zip(weights, cosines) if y == j) for j in range(classes)]
        logits.append([math.log(vote + weights[-1] / classes) for vote in votes])
        scores.append(-cosines[0][0])
    return torch.tensor(logits), torch.tensor(scores)


@pytest.mark.parametrize(("count", "k"), [(40, 1), (40, 10), (40, 60), (NEIGHBOURS + 40, 7), (2 * NEIGHBOURS + 3, 5)])
def test_against_a_loop(count, k):
    training, labels = drawn(count)
    features = drawn(10, seed=1)[0]
    method = learned(training, labels, k=k, temperature=0.1)
    logits, scores = slow_logits(training, labels, features, k, 0.1)
    torch.testing.assert_close(method.logits(features), logits, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(method.unknown_score(features), scores, rtol=1e-5, atol=1e-6)
    detector = CosineKNN()
    detector.fit(torch.zeros(count, 3), training[:, :, 0, 0], labels)
    torch.testing.assert_close(
        detector(None, features[:, :, 0, 0]).float(), method.unknown_score(features), rtol=1e-5, atol=1e-6
    )


def test_known_answers():
    # Two neighbours vote, both at cosine 1, and a third vote is divided evenly: 1 1/2 to 1 1/2, or 2 1/2 to 1/2.
    training = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])[:, :, None, None]
    at = torch.tensor([[5.0, 0.0]])[:, :, None, None]
    mixed = learned(training, torch.tensor([0, 1, 1, 1]), 2, k=2)
    assert mixed.logits(at).softmax(1).tolist()[0] == pytest.approx([0.5, 0.5])
    clear = learned(training, torch.tensor([0, 0, 1, 1]), 2, k=2)
    assert clear.logits(at).exp().tolist()[0] == pytest.approx([2.5, 0.5])
    assert clear.unknown_score(at).tolist() == pytest.approx([-1])


def test_far_images_have_finite_logits():
    training, labels = drawn()
    method = learned(training, labels, temperature=0.005)
    logits = method.logits(-training)
    assert logits.isfinite().all() and logits.amax(1).lt(-50).any()


def test_a_state_of_any_number_of_images_is_taken():
    features = drawn(10, seed=1)[0]
    method = learned(*drawn(50))
    fresh = learned(*drawn(7, seed=3))
    for other in (fresh, KNearest(8, 3)):
        other.load_state_dict(method.state_dict())
        assert torch.equal(other.logits(features), method.logits(features)) and len(other.kept) == 50
    other.kept.zero_()
    assert not torch.equal(other.logits(features), method.logits(features))  # The tensors are not shared.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kept": torch.zeros(5, 9), "owners": torch.zeros(5, dtype=torch.int64)}, "size mismatch for kept"),
        ({"kept": torch.zeros(5, 8), "owners": torch.zeros(4, dtype=torch.int64)}, "size mismatch for kept"),
        ({"kept": torch.zeros(0, 8), "owners": torch.zeros(0, dtype=torch.int64)}, "size mismatch for kept"),
        ({"kept": torch.zeros(2, 8), "owners": torch.tensor([0, 3])}, r"owners: classes lie in 0\.\.2"),
        ({"kept": torch.zeros(2, 8)}, "Missing key.*owners"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change, said):
    with pytest.raises(RuntimeError, match=said):
        KNearest(8, 3).load_state_dict(change)


def test_evidence_is_where_the_neighbours_of_the_class_are():
    training, labels = drawn(31)  # Not as many images in each class.
    method = learned(training, labels)
    features = torch.zeros(2, 8, 3, 3)
    features[:, 1, 0, 0], features[:, 2, 2, 2] = 1, 1
    maps = method.evidence(features, torch.tensor([1, 2]))
    assert maps[0].argmax() == 0 and maps[1].argmax() == 8 and not maps.requires_grad


def test_evidence_of_a_class_with_fewer_images_than_k_takes_all_of_them():
    training, labels = drawn(9)
    features = torch.randn(2, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    wanted = torch.tensor([0, 2])
    few, exact = (learned(training, labels, k=k).evidence(features, wanted) for k in (8, 3))
    torch.testing.assert_close(few, exact)


def test_bad_input():
    with pytest.raises(ValueError, match="knn: k counts the images that vote, 1 or more; got 0"):
        KNearest(4, 2, k=0)
    with pytest.raises(ValueError, match="knn: temperature is above 0; got -1"):
        KNearest(4, 2, temperature=-1)
