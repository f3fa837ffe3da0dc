"""Logistic regression: the optimum of another program, bases and weights, the choice of the strength, and folds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from backmix.fit.logistic import OUTSIDE, STRENGTHS, Regression, make_folds, minimise


def blobs(count: int = 90, channels: int = 8, classes: int = 3, seed: int = 0, spread: float = 1.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = 2 * torch.randn(classes, channels, generator=generator)
    return centres[labels] + spread * torch.randn(count, channels, generator=generator), labels


@pytest.mark.parametrize("strength", [1e-1, 1e-3])
def test_the_optimum_is_that_of_scikit_learn(strength):
    features, labels = blobs(spread=3.0)
    features = features - features.mean(0)
    features = features / features.square().sum(1).mean().sqrt()
    found = minimise(features, labels, 3, strength, torch.ones(90))
    # scikit-learn minimises C times the sum of the losses plus half the squared norm.
    peer = LogisticRegression(C=1 / (strength * 90), tol=1e-8, max_iter=5000).fit(features.double(), labels)
    ours = (features @ found[:-1] + found[-1]).softmax(1)
    torch.testing.assert_close(
        ours.double(), torch.from_numpy(peer.predict_proba(features.double())), atol=5e-4, rtol=0
    )


def test_two_points_have_the_optimum_of_a_formula():
    # With x = ±1, logits ±w, loss log(1 + exp(-2 w)) and penalty strength w^2 (two classes), the slope is 0 at
    # 2 / (1 + exp(2 w)) = 2 strength w.
    found = minimise(torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]), 2, 0.1, torch.ones(2))
    w = float(found[0, 0])
    assert found[0, 1] == pytest.approx(-w, abs=1e-5) and found[1].abs().max() < 1e-5
    assert 1 / (1 + torch.tensor(2 * w).exp()) == pytest.approx(0.1 * w, abs=1e-4)


def test_fewer_images_than_features_have_the_optimum_of_the_full_basis():
    features, labels = blobs(count=12, channels=40)
    head = Regression(features, labels, 3).fit(1e-2)
    centred = features - features.mean(0)
    scale = centred.square().sum(1).mean().sqrt()
    full = minimise(centred / scale, labels, 3, 1e-2, torch.ones(12))
    expected = centred / scale @ full[:-1] + full[-1]
    torch.testing.assert_close(head.logits(features), expected, atol=1e-3, rtol=1e-3)


def test_shift_scale_and_order_of_features_do_not_matter():
    features, labels = blobs()
    plain = Regression(features, labels, 3).fit(1e-3).logits(features)
    moved = features[:, torch.randperm(8, generator=torch.Generator().manual_seed(1))] * 7 + 100
    torch.testing.assert_close(Regression(moved, labels, 3).fit(1e-3).logits(moved), plain, atol=0.02, rtol=0.01)


def test_a_weight_of_two_is_an_image_twice():
    features, labels = blobs(count=30, spread=3.0)
    centred = features - features.mean(0)
    weights = 1.0 + (torch.arange(30) < 10).float()
    weighted = minimise(centred, labels, 3, 1e-2, weights)
    twice = torch.cat([torch.arange(30), torch.arange(10)])
    torch.testing.assert_close(
        weighted, minimise(centred[twice], labels[twice], 3, 1e-2, torch.ones(40)), atol=2e-3, rtol=1e-3
    )


def test_smoothed_targets_bound_the_logits():
    features, labels = blobs(spread=0.1)
    sharp = Regression(features, labels, 3).fit(1e-7).logits(features).softmax(1).amax(1)
    smooth = Regression(features, labels, 3, smoothing=0.3).fit(1e-7).logits(features).softmax(1).amax(1)
    assert sharp.min() > 0.98 and smooth.max() < 0.85 and smooth.mean() == pytest.approx(0.8, abs=0.02)


def test_equal_features_give_the_shares_of_the_classes():
    head = Regression(torch.ones(6, 4), torch.tensor([0, 0, 0, 1, 1, 2]), 3).fit(1e-3)
    torch.testing.assert_close(
        head.logits(torch.ones(1, 4)).softmax(1)[0], torch.tensor([3, 2, 1]) / 6, atol=1e-3, rtol=0
    )


def test_noise_asks_for_a_stronger_penalty_than_clear_classes():
    generator = torch.Generator().manual_seed(0)
    features, labels = blobs(count=120, channels=60, spread=0.3)
    clear = Regression(features, labels, 3)
    clear = clear.choose_strength(make_folds(labels, None, generator))
    noisy = Regression(torch.randn(120, 60, generator=generator), labels, 3)
    noisy = noisy.choose_strength(make_folds(labels, None, generator))
    assert noisy.strength == STRENGTHS[0] and clear.strength < noisy.strength
    assert clear.accuracy[clear.strength] == 1 and noisy.accuracy[noisy.strength] < 0.6
    best = min(clear.log_loss.values())
    assert clear.folds == 5 and clear.log_loss[clear.strength] >= best


def test_the_log_loss_is_that_of_images_left_out():
    features, labels = blobs(count=20, spread=2.0)
    folds = torch.arange(20) % 2
    regression = Regression(features, labels, 3)
    losses = []
    for fold in (0, 1):
        head = regression.fit(1e-3, folds != fold)
        out = folds == fold
        losses.append(torch.nn.functional.cross_entropy(head.logits(features[out]), labels[out]))
    assert regression.choose_strength(folds).log_loss[1e-3] == pytest.approx(
        float(torch.stack(losses).mean()), rel=1e-3
    )


def test_too_few_images_to_leave_any_out():
    found = Regression(torch.eye(2), torch.tensor([0, 1]), 2).choose_strength(torch.tensor([-1, -1]))
    assert found.folds == 0 and found.strength in STRENGTHS and found.log_loss == {}


def test_images_outside_take_no_part():
    features, labels = blobs(count=40)
    folds = torch.cat([torch.arange(30) % 3, torch.full((10,), OUTSIDE)])
    alone = Regression(features, labels, 3).choose_strength(folds)
    features[30:] = 1000  # The centre and the scale move.
    assert Regression(features, labels, 3).choose_strength(folds).folds == alone.folds == 3


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 99))
def test_folds_spread_each_class_and_keep_groups_together(labels, seed):
    labels = torch.tensor(labels)
    groups = torch.where(torch.arange(len(labels)) % 3 == 0, labels, -1)  # Copies within a class.
    folds = make_folds(labels, groups, torch.Generator().manual_seed(seed))
    assert torch.equal(folds, make_folds(labels, groups, torch.Generator().manual_seed(seed)))
    for label in labels.unique():
        of_class, kind = folds[labels == label], groups[labels == label]
        assert len(of_class[kind >= 0].unique()) <= 1
        singles = of_class[kind < 0]
        count = len(singles) + int((kind >= 0).any())
        if count == 1:
            assert (of_class == -1).all()
        else:
            assert len(of_class.unique()) == min(5, count) and (of_class >= 0).all()


def test_shares_are_images_that_count_as_much_of_each_class():
    features, labels = blobs(count=30, spread=3.0)
    targets = torch.nn.functional.one_hot(labels, 3).float()
    hard, soft = (Regression(features, given, 3, smoothing=0.1).fit(1e-3) for given in (labels, targets))
    assert torch.equal(hard.weight, soft.weight) and torch.equal(hard.bias, soft.bias)
    other = (labels + 1) % 3
    shared = 0.7 * targets + 0.3 * torch.nn.functional.one_hot(other, 3)
    centred = features - features.mean(0)
    torch.testing.assert_close(
        minimise(centred, shared, 3, 1e-2, torch.ones(30)),
        minimise(
            torch.cat([centred, centred]),
            torch.cat([labels, other]),
            3,
            1e-2,
            torch.tensor([0.7, 0.3]).repeat_interleave(30),
        ),
        atol=2e-3,
        rtol=1e-3,
    )
