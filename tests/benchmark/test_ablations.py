"""Ablations: every setting is one that BackMix takes, and none of them is its default."""

import inspect

import pytest

from backmix.augmentations import make_augmentation
from backmix.benchmark.ablations import ABLATIONS, find_ablation
from backmix.benchmark.grid import Cell
from backmix.data.preprocess import Preprocess
from backmix.foregrounds.choose import choose_estimator
from backmix.mixing import BackMix


@pytest.mark.parametrize("augmentation, variant", find_ablation("all"))
def test_each_setting_moves_one_option_from_its_default(augmentation, variant):
    options = Cell("digits", "", "a", "softmax", augmentation, 0, "cpu", variant).augmentation_options
    assert len(options) == (1 if variant else 0)
    _, given = choose_estimator(options)
    make_augmentation(augmentation, 10, Preprocess(32), given)
    defaults = {name: value.default for name, value in inspect.signature(BackMix).parameters.items()}
    for name, value in options.items():
        assert value != defaults[name]


def test_the_names_are_those_of_the_issue():
    names = {"patch-side", "patches", "foreground-share", "momentum", "fill", "selection", "donor", "source", "apply"}
    assert names <= set(ABLATIONS)
    assert ("backmix", "patch_side=0.5") in find_ablation("patch-side")
    assert find_ablation("apply") == (("swap", ""),)
    assert len(find_ablation("all")) == sum(len(settings) for settings in ABLATIONS.values())
    with pytest.raises(ValueError, match="no ablation 'patchside'; there are patch-side"):
        find_ablation("patchside")
