"""The share of unknown images refused, estimated by known classes left out in turn."""

import pytest
import torch

from backmix.fit.estimate_refused import estimate_refused
from backmix.fit.leave_classes_out import fold_scores
from backmix.fit.logistic import Regression, make_folds
from backmix.threshold.conformal import ConformalThreshold


def images(classes, each, *, noise=0.6, seed=0, channels=24):
    labels = torch.arange(classes * each) % classes
    centres = 2 * torch.eye(channels)[:classes]
    return centres[labels] + noise * torch.randn(
        len(labels), channels, generator=torch.Generator().manual_seed(seed)
    ), labels


def estimate(features, labels, detector="max_logit", classes=None, **options):
    classes = classes or int(labels.max()) + 1
    folds = make_folds(labels, None, torch.Generator().manual_seed(1))
    regression = Regression(features, labels, classes)
    generator = torch.Generator().manual_seed(0)
    return estimate_refused(regression, features, 1e-4, folds, classes, detector, generator, **options)


def test_classes_far_apart_are_refused_and_alike_ones_are_not():
    far = estimate(*images(6, 30, noise=0.2))
    assert list(far) == [0.8, 0.9, 0.95, 0.99] and min(far.values()) > 0.9
    same = estimate(0.1 * torch.randn(180, 24, generator=torch.Generator().manual_seed(3)), torch.arange(180) % 6)
    assert all(abs(value - (1 - accept)) < 0.12 for accept, value in same.items())


def test_three_classes_and_pairs_of_scores_are_estimated_too():
    features, labels = images(3, 30, noise=0.2)
    for detector in ("cosine_mean", "msp+cosine_knn"):
        found = estimate(features, labels, detector)
        assert found and found[0.8] >= found[0.95] and found == estimate(features, labels, detector)


def test_a_class_is_what_it_is_by_hand():
    features, labels = images(3, 20)
    folds = make_folds(labels, None, torch.Generator().manual_seed(1))
    regression = Regression(features, labels, 3)
    shares = []
    for number in torch.randperm(3, generator=torch.Generator().manual_seed(0)).tolist():
        pairs = [
            fold_scores(regression, features, 1e-4, folds, torch.tensor([number]), fold, "msp")
            for fold in sorted(set(folds.tolist()))
        ]
        fresh, strange = (torch.cat([pair[k] for pair in pairs]) for k in (0, 1))
        assert len(fresh) == 40 and len(strange) == 20 * len(pairs)
        shares.append(float((~ConformalThreshold.fit(fresh, 0.9).accept(strange)).double().mean()))
    assert estimate(features, labels, "msp", shares=[0.9])[0.9] == pytest.approx(sum(shares) / 3)


def test_nothing_is_estimated_where_it_cannot_be():
    features, labels = images(2, 30)
    assert estimate(features, labels) == {}
    assert estimate(*images(4, 30), detector="openmax") == {}
    assert 0.99 not in estimate(*images(3, 12))  # Too few new images for a threshold of that share.
