"""The grid of a benchmark: which trainings there are, each with a folder name of its own."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from backmix.data.names import split_names


@dataclass(frozen=True)
class Cell:
    """One training of the grid.

    Attributes:
        protocol: name in `backmix.benchmark.protocols.PROTOCOLS`.
        split_list: name of the list of known classes; "" where the protocol has none.
        trial: which of the list, such as "a".
        method: training objective.
        augmentation: what is done to a batch, "none" for nothing.
        seed: everything random follows from it.
        recipe: name in `backmix.benchmark.recipes.RECIPES`.
        variant: options of the augmentation as "key=value,key=value", read by `split_names`; "" for its defaults.
    """

    protocol: str
    split_list: str
    trial: str
    method: str
    augmentation: str
    seed: int
    recipe: str
    variant: str = ""

    @property
    def name(self) -> str:
        """Name of the folder; no two cells share one."""
        where = "-".join(part for part in (self.protocol, self.split_list, self.trial) if part)
        parts = [where, self.recipe, self.method, self.augmentation, self.variant, f"seed{self.seed}"]
        return "_".join(_as_folder(part) for part in parts if part)

    @property
    def augmentation_options(self) -> dict[str, Any]:
        """What `variant` says, values read as YAML so that numbers and booleans become what they look like."""
        options: dict[str, Any] = {}
        for pair in filter(None, split_names(self.variant)):
            key, equals, value = pair.partition("=")
            if not key or not equals:
                raise ValueError(f"a variant is key=value,key=value; got {self.variant!r}")
            options[key.replace("-", "_")] = yaml.safe_load(value)
        return options

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)


def make_grid(
    protocols: Sequence[tuple[str, str, Sequence[str]]],
    *,
    methods: Sequence[str] = ("softmax",),
    augmentations: Sequence[str] = ("none", "backmix"),
    variants: Sequence[tuple[str, str]] = (),
    seeds: Sequence[int] = (0,),
    recipe: str = "cpu",
) -> list[Cell]:
    """All cells of a grid, those that are compared with one another side by side.

    Trials and seeds come first, so that a grid that was cut off is complete for the trials it has.

    Args:
        protocols: name, split list ("" for none) and trials of each.
        methods: training objectives.
        augmentations: by name.
        variants: further (augmentation, variant) pairs, such as those of an ablation.
        seeds: of each trial.
        recipe: how all are trained.

    Raises:
        ValueError: for a cell that is asked for twice, or an empty grid.
    """
    mixes = [*((name, "") for name in augmentations), *variants]
    cells = [
        Cell(protocol, split_list, trial, method, augmentation, seed, recipe, variant)
        for protocol, split_list, trials in protocols
        for seed, trial in itertools.product(seeds, trials)
        for method in methods
        for augmentation, variant in mixes
    ]
    if not cells:
        raise ValueError("the grid is empty: name at least one protocol, trial, method, augmentation and seed")
    twice = next((cell for number, cell in enumerate(cells) if cell in cells[:number]), None)
    if twice is not None:
        raise ValueError(f"the grid asks twice for {twice.name}; name every trial, method, augmentation and seed once")
    return cells


def _as_folder(text: str) -> str:
    """Text that every file system takes as a name, different for different texts.

    Letters, digits and `.=+,-` stay; anything else, the underscore that divides the parts included, becomes its number.
    """
    return re.sub(r"[^A-Za-z0-9.=+,-]", lambda match: f"%{ord(match[0]):02x}", text)
