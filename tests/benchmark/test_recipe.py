"""Recipes that train heads alone: which methods they take, and what they refuse."""

import pytest

from backmix.benchmark.recipes import CPU, FROZEN
from backmix.methods import METHODS


def test_methods_that_train_on_features():
    assert CPU.methods == tuple(name for name, of in METHODS.items() if not of.learns_at_once)
    assert set(FROZEN.methods) == {
        name for name, of in METHODS.items() if of.on_pooled_features and not of.needs_outliers
    }
    assert {"softmax", "arpl", "cac"} <= set(FROZEN.methods) and "outlier-exposure" not in FROZEN.methods
    for name in ("softmax", "outlier-exposure"):
        FROZEN.check(name, None)
    for name in METHODS:
        CPU.check(name, 5)


@pytest.mark.parametrize(
    ("method", "epochs", "message"),
    [
        ("rcssr", None, "recipe frozen trains heads on pooled features, and rcssr learns from more.*softmax, gcpl"),
        ("softmax", 3, "recipe frozen trains the head alone and has no epochs; leave --epochs out"),
    ],
)
def test_what_needs_more_than_features(method, epochs, message):
    for ask in (
        lambda: FROZEN.check(method, epochs),
        lambda: FROZEN.for_trial(image_size=32, data="digits", images=100, method=method, epochs=epochs),
    ):
        with pytest.raises(ValueError, match=message):
            ask()
