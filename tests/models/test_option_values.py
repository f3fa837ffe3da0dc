"""Options of every family: what can be meant is converted, and all else is one sentence."""

from collections.abc import Sequence
from functools import partial
from inspect import signature

import numpy as np
import pytest
import torch

from backmix.augmentations import AUGMENTATIONS, BACKMIXES, make_augmentation
from backmix.data.preprocess import Preprocess
from backmix.fit.training import check_names
from backmix.foregrounds.choose import choose_estimator
from backmix.inference.decider import Decider
from backmix.methods import METHODS
from backmix.methods.network import create_network
from backmix.models import BACKBONES, create_backbone
from backmix.models.option_values import fitting_options


class Made:
    def __init__(
        self,
        *,
        share: float = 0.5,
        count: int = 1,
        switch: bool = True,
        word: str = "a",
        maybe: float | None = None,
        sizes: Sequence[int] = (1, 2),
        three: tuple[float, float, float] = (0.0, 0.0, 0.0),
        words: Sequence[str] = (),
        side: int | tuple[int, int] | None = None,
        dtype: torch.dtype | None = None,
        plain=None,
    ) -> None: ...


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("share", "1e-1", 0.1),
        ("share", 1, 1.0),
        ("share", "1", 1.0),
        ("share", np.float32(0.5), 0.5),
        ("count", 8.0, 8),
        ("count", "8", 8),
        ("count", "1e2", 100),
        ("count", np.int64(3), 3),
        ("switch", False, False),
        ("word", "b", "b"),
        ("maybe", None, None),
        ("maybe", "2e-1", 0.2),
        ("sizes", [3, 4.0, "5"], (3, 4, 5)),
        ("sizes", "0,1,2", (0, 1, 2)),
        ("sizes", 1, (1,)),
        ("sizes", [], ()),
        ("three", [1, "1e-1", 0], (1.0, 0.1, 0.0)),
        ("words", "Rotate", ("Rotate",)),
        ("words", "Rotate, Invert", ("Rotate", "Invert")),
        ("side", 32, 32),
        ("side", [32, 64], (32, 64)),
        ("dtype", "uint8", torch.uint8),
        ("dtype", torch.float32, torch.float32),
        ("plain", object, object),
        ("another", "1e-1", "1e-1"),
    ],
)
def test_what_can_be_meant_is_converted(option, value, expected):
    for make in (Made, partial(Made, share=0.1)):
        found = fitting_options("made", make, {option: value})
        assert found == {option: expected} and type(found[option]) is type(expected)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("share", "high", "a number; got 'high'"),
        ("share", True, "a number; got True"),
        ("share", None, "a number; got None"),
        ("share", [0.1], "a number"),
        ("share", "nan", "a number"),
        ("share", float("inf"), "a number"),
        ("count", 2.5, "a whole number; got 2.5"),
        ("count", "2.5", "a whole number"),
        ("count", "1e400", "a whole number"),
        ("switch", 1, "true or false; got 1"),
        ("switch", "yes please", "true or false"),
        ("word", 3, "a word; got 3"),
        ("word", False, "a word; got False"),
        ("maybe", "x", "a number or none; got 'x'"),
        ("sizes", [1.5], "a list of values, as .A, B., each a whole number"),
        ("sizes", {"a": 1}, "a list of values"),
        ("sizes", None, "a list of values"),
        ("three", [1, 2], "a list of 3 values"),
        ("three", 1.0, "a list of 3 values"),
        ("words", [3], "a list of values, as .A, B., each a word"),
        ("side", [1, 2, 3], "a whole number or a list of 2 values"),
        ("dtype", "uint9", "a type of torch, as float32 or none; got 'uint9'"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(option, value, words):
    with pytest.raises(ValueError, match=f"^made: {option} is {words}") as caught:
        fitting_options("made", Made, {option: value})
    assert "\n" not in str(caught.value)


ODD = ["1e-1", "abc", "", 2.5, 3, -1, 0, True, None, [1, 2], [], ["a"], {"a": 1}, float("nan"), 8.0]


@pytest.mark.parametrize("name", [*AUGMENTATIONS, *BACKMIXES])
def test_no_option_of_an_augmentation_ends_in_a_traceback(name):
    for option in signature({**AUGMENTATIONS, **BACKMIXES}[name]).parameters:
        for value in ODD:
            try:
                chosen = choose_estimator({option: value})[1]
                chain = make_augmentation(name, 4, Preprocess(32), chosen)
                chain.before_crop(
                    torch.zeros(4, 3, 32, 32),
                    torch.arange(4),
                    labels=torch.arange(4),
                    masks=torch.ones(4, 32, 32, dtype=torch.bool),
                    view=None,
                )
            except (ValueError, ImportError):
                continue


@pytest.mark.parametrize("name", METHODS)
def test_no_option_of_a_method_ends_in_a_traceback(name):
    for option in list(signature(METHODS[name]).parameters)[2:]:
        for value in ODD:
            try:
                options = fitting_options(name, METHODS[name], {option: value})
                METHODS[name](16, 3, **options)
            except ValueError:
                continue
    with pytest.raises(ValueError, match=f"method {name} has no option|method {name}: .* is "):
        create_network("compact-s", name, 2, image_size=32, method_options={"label_smoothing": [1, 2]})


@pytest.mark.parametrize("name", BACKBONES)
def test_no_option_of_a_network_ends_in_a_traceback(name):
    for option in signature(BACKBONES[name]).parameters.keys() - {"name", "in_channels", "image_size"}:
        for value in ("abc", 2.5, -1, None, [1, 2], {"a": 1}):
            try:
                create_backbone(name, image_size=32, **{option: value})
            except ValueError:
                continue


def test_a_number_that_yaml_reads_as_text_arrives_as_a_number():
    chain = make_augmentation("backmix", 4, Preprocess(32), {"momentum": "1e-1", "grid": 8.0})
    assert chain.backmix.bank.momentum == 0.1 and chain.backmix.bank.grid == 8
    assert create_network("compact-s", "arpl", 2, image_size=32, method_options={"weight": "1e-1"}).head.weight == 0.1
    made = Decider(["a", "b"], model="compact-s", method_options={"label_smoothing": "1e-1"})
    with pytest.raises(ValueError, match="augmentation backmix: num_patches is a whole number; got 2.5"):
        check_names(made, "backmix", {"num_patches": 2.5})
    with pytest.raises(ValueError, match="foreground is one of"):
        choose_estimator({"foreground": ["free"]})
