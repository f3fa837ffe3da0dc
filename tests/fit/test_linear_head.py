"""The linear head of a frozen network: the same whether it is fitted or found, and found only for the same task."""

from dataclasses import fields, replace

import pytest
import torch

from backmix.fit import linear_head as module
from backmix.fit.linear_head import LinearTask, fit_linear_head, image_folds, linear_head
from backmix.fit.logistic import MOST_COMPARED, OUTSIDE
from backmix.inference.feature_cache import FeatureCache

CLASSES = [f"class {k}" for k in range(6)]


def task(**changed):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(72) % 6
    features = 2 * torch.eye(16)[labels] + 0.5 * torch.randn(72, 16, generator=generator)
    return replace(LinearTask(features, labels, CLASSES, "max_logit"), **changed)


def assert_same(found, expected):
    (head, choices), (wanted, wanted_choices) = found, expected
    assert torch.equal(head.weight, wanted.weight) and torch.equal(head.bias, wanted.bias)
    assert head.weight.dtype == torch.float32 and choices == wanted_choices


@pytest.mark.parametrize("detector", ["max_logit", "msp+cosine_mean"])
@pytest.mark.parametrize("choose", [True, False])
def test_a_head_that_is_found_is_the_head_that_was_fitted_to_the_last_bit(tmp_path, monkeypatch, detector, choose):
    asked = task(detector=detector, choose=choose)
    fitted = linear_head(asked, FeatureCache(tmp_path))
    monkeypatch.setattr(module, "fit_linear_head", lambda task: pytest.fail("it was fitted again"))
    assert_same(linear_head(asked, FeatureCache(tmp_path)), fitted)
    monkeypatch.undo()
    assert_same(fit_linear_head(asked), fitted)
    _, choices = fitted
    assert (choices.score is not None) == choose and choices.refused.detector == choices.detector
    assert set(choices.references) == (set(choices.detector.split("+")) if "+" in choices.detector else set())


CHANGES = {
    "features": task().features + 1e-6,
    "labels": task().labels.roll(1),
    "classes": [*CLASSES[:5], "another"],
    "detector": "msp",
    "groups": torch.arange(72) // 2,
    "weights": torch.ones(72),
    "smoothing": 0.1,
    "choose": False,
    "estimate": False,
    "seed": 1,
}


def test_each_part_of_a_task_is_part_of_its_key():
    assert set(CHANGES) == {each.name for each in fields(LinearTask)}
    keys = {task().key(), *(task(**{name: value}).key() for name, value in CHANGES.items())}
    assert len(keys) == 1 + len(CHANGES) and task().key() in keys
    # Names are told apart from one another, and a missing value from an empty one.
    assert task(classes=["a, b", "c"]).key() != task(classes=["a", "b, c"]).key()
    assert task(groups=torch.ones(72)).key() != task(weights=torch.ones(72)).key()
    assert task(features=task().features.T.contiguous().T).key() == task().key()


def test_a_damaged_head_is_fitted_again_and_replaced(tmp_path):
    asked = task(choose=False, estimate=False)
    fitted = linear_head(asked, FeatureCache(tmp_path))
    (space,) = {module._space()}
    for damaged in (
        b"",
        b"\x80",
        b"\x83" + bytes(50),
        FeatureCache(tmp_path).find_bytes(space, [asked.key()])[asked.key()][:-9],
    ):
        FeatureCache(tmp_path).keep_bytes(space, {asked.key(): damaged})
        assert_same(linear_head(asked, FeatureCache(tmp_path)), fitted)
        assert_same(linear_head(asked, FeatureCache(tmp_path)), fitted)


def test_a_head_of_another_version_is_not_used(tmp_path, monkeypatch):
    asked = task(choose=False, estimate=False)
    linear_head(asked, FeatureCache(tmp_path))
    monkeypatch.setattr(module, "__version__", "99")
    linear_head(asked, FeatureCache(tmp_path))
    assert len(FeatureCache(tmp_path)) == 2


def test_without_a_folder_the_head_is_kept_in_memory():
    cache = FeatureCache(None)
    fitted = linear_head(task(choose=False), cache)
    assert_same(linear_head(task(choose=False), cache), fitted)
    assert len(cache) == 1


def test_of_many_images_only_some_are_compared():
    labels = torch.arange(MOST_COMPARED + 100) % 7
    folds = image_folds(labels, None, 0)
    assert int((folds == OUTSIDE).sum()) == 100 and set(folds.tolist()) == {OUTSIDE, 0, 1, 2, 3, 4}
    assert torch.equal(folds, image_folds(labels, None, 0)) and not torch.equal(folds, image_folds(labels, None, 1))
