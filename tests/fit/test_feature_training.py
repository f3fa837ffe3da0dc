"""Methods on pooled features: by gradient steps, or at once."""

import math

import pytest
import torch

from backmix.errors import TrainingError
from backmix.fit.feature_training import train_on_features
from backmix.methods import METHODS

AT_ONCE = [name for name, method in METHODS.items() if method.learns_at_once]
BY_STEPS = [name for name, method in METHODS.items() if method.on_pooled_features and not method.learns_at_once]


def drawn(count=60, classes=3, channels=16, seed=0):
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    return 2 * torch.eye(classes, channels)[labels] + torch.rand(count, channels, generator=random), labels


@pytest.mark.parametrize("name", [*AT_ONCE, *BY_STEPS])
def test_each_learns_to_tell_the_classes_apart(name):
    features, labels = drawn()
    others, expected = drawn(seed=1)
    torch.manual_seed(0)
    head = METHODS[name](16, 3)
    outliers = torch.rand(20, 16, generator=torch.Generator().manual_seed(2)) if head.uses_outliers else None
    loss = train_on_features(head, features, labels, outliers=outliers, steps=300)
    assert math.isnan(loss) == (name in AT_ONCE) and not head.training
    with torch.no_grad():
        assert (head.logits(others[:, :, None, None]).argmax(1) == expected).float().mean() > 0.95


@pytest.mark.parametrize("name", AT_ONCE)
def test_what_is_computed_at_once_is_what_learn_computes(name):
    features, labels = drawn()
    head, direct = METHODS[name](16, 3), METHODS[name](16, 3)
    train_on_features(head, features, labels)
    direct.learn(lambda: [(features[:, :, None, None], labels)])
    assert all(torch.equal(value, direct.state_dict()[key]) for key, value in head.state_dict().items())


def data(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(30) % 3
    return torch.eye(8)[labels] + 0.2 * torch.randn(30, 8, generator=generator), labels


def make(name: str = "arpl", **options):
    torch.manual_seed(0)
    return METHODS[name](8, 3, **options)


def test_more_steps_lower_the_loss():
    values, labels = data()
    losses = [train_on_features(make(), values, labels, steps=steps) for steps in (10, 100, 1000)]
    assert losses[0] > losses[1] > losses[2]


def test_the_seed_decides_alone():
    values, labels = data()
    heads = [make() for _ in range(3)]
    torch.manual_seed(5)
    for head, seed in zip(heads, (0, 0, 1)):
        train_on_features(head, values, labels, steps=20, seed=seed)
    weights = [torch.cat([p.flatten() for p in head.parameters()]) for head in heads]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert not heads[0].training


def test_a_method_that_learns_statistics_does_so_at_the_end():
    values, labels = data()
    head = make("cac")
    before = head.centres.clone()
    train_on_features(head, values, labels, steps=200)
    assert not torch.equal(head.centres, before)


def test_missing_outliers_and_a_loss_that_is_no_number():
    values, labels = data()
    with pytest.raises(ValueError, match="entropic learns from images of no known class"):
        train_on_features(make("entropic"), values, labels)
    with pytest.raises(TrainingError, match="the loss of arpl on features is nan at step 0"):
        train_on_features(make(), values * torch.nan, labels)


def test_fewer_images_than_a_batch():
    values, labels = data()
    assert train_on_features(make("gcpl"), values[:3], labels[:3], steps=50) < 5
