"""The grid: every cell once, each with a folder of its own."""

import dataclasses
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmix.augmentations import make_augmentation
from backmix.benchmark.grid import ABLATIONS, Cell, find_ablation, make_grid
from backmix.data.preprocess import Preprocess
from backmix.foregrounds.choose import choose_estimator
from backmix.mixing import BackMix

CELL = Cell("cifar10", "cssr", "a", "softmax", "backmix", 0, "cpu")
TEXT = st.text(alphabet="abzA_-+=:.,%/ é", max_size=6)


def test_a_folder_says_what_is_in_it():
    assert CELL.name == "cifar10-cssr-a_cpu_softmax_backmix_seed0"
    assert dataclasses.replace(CELL, protocol="digits:prior=0.5", split_list="").name == (
        "digits%3aprior=0.5-a_cpu_softmax_backmix_seed0"
    )
    assert dataclasses.replace(CELL, variant="patch_side=0.5").name == (
        "cifar10-cssr-a_cpu_softmax_backmix_patch%5fside=0.5_seed0"
    )


@given(
    st.tuples(TEXT, TEXT, TEXT, st.integers(0, 99)),
    st.tuples(TEXT, TEXT, TEXT, st.integers(0, 99)),
)
def test_no_two_cells_share_a_folder(one, other):
    cells = [dataclasses.replace(CELL, method=m, augmentation=a, variant=v, seed=s) for m, a, v, s in (one, other)]
    # Names of methods, augmentations and recipes are never empty; variants may be.
    if all(cell.method and cell.augmentation for cell in cells):
        assert (cells[0].name == cells[1].name) == (cells[0] == cells[1])
        assert not set(cells[0].name) & set('/\\:*?"<>| ')


def test_options_of_a_variant():
    cell = dataclasses.replace(CELL, variant="patch-side=0.5,fill=mean,inplace=false")
    assert cell.augmentation_options == {"patch_side": 0.5, "fill": "mean", "inplace": False}
    assert CELL.augmentation_options == {}
    several = dataclasses.replace(CELL, variant=r"leave_out=[rotate\, shear],fill=mean")
    assert several.augmentation_options == {"leave_out": ["rotate", "shear"], "fill": "mean"}
    with pytest.raises(ValueError, match="key=value"):
        dataclasses.replace(CELL, variant="half").augmentation_options  # noqa: B018


def test_order_and_number_of_a_grid():
    cells = make_grid(
        [("cifar10", "cssr", ["a", "b"]), ("svhn", "cssr", ["a"])],
        methods=["softmax", "arpl"],
        augmentations=["none", "backmix"],
        variants=[("backmix", "patch_side=0.5")],
        seeds=[0, 1],
    )
    assert len(cells) == len(set(cells)) == 3 * 2 * 3 * 2
    # What is compared stands side by side, so that a grid that is cut off is complete for its first trials.
    assert [(c.augmentation, c.variant) for c in cells[:3]] == [
        ("none", ""),
        ("backmix", ""),
        ("backmix", "patch_side=0.5"),
    ]
    assert {(c.trial, c.seed) for c in cells[:6]} == {("a", 0)}


def test_grids_that_cannot_be():
    with pytest.raises(ValueError, match="empty"):
        make_grid([("cifar10", "cssr", [])])
    with pytest.raises(ValueError, match="twice for cifar10-cssr-a_cpu_softmax_none_seed0"):
        make_grid([("cifar10", "cssr", ["a", "a"])])


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
