"""Methods on pooled features: by gradient steps, or at once."""

import math

import pytest
import torch

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
