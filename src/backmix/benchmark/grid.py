"""The grid of a benchmark: all its trainings, each with a folder name of its own, and the ablations it may hold."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from backmix.data.names import split_names
from backmix.data.plain_yaml import read_yaml

_PATCH: dict[str, tuple[str, ...]] = {
    "patch-side": tuple(f"patch_side={side}" for side in (0.125, 0.375, 0.5, 0.75)),
    "patches": tuple(f"num_patches={count}" for count in (2, 4)),
    "foreground-share": tuple(f"foreground_share={share}" for share in (0.0, 0.125, 0.5)),
    "momentum": tuple(f"momentum={momentum}" for momentum in (0.02, 0.5, 1.0)),
    "fill": ("fill=mean", "fill=noise"),
    "selection": ("selection=random",),
    "donor": ("donor=other",),
    "probability": ("probability=0.5",),
    "source": ("foreground=clean", "foreground=centre", "foreground=random", "foreground=none", "foreground=saliency"),
}

ABLATIONS: dict[str, tuple[tuple[str, str], ...]] = {
    **{name: tuple(("backmix", variant) for variant in variants) for name, variants in _PATCH.items()},
    "apply": (("swap", ""),),
}
"""Ablation name -> (augmentation, variant) of each setting. Each setting changes one option from BackMix's default."""


@dataclass(frozen=True)
class Cell:
    """One training of the grid.

    Attributes:
        protocol: A name in `backmix.benchmark.protocols.PROTOCOLS`.
        split_list: The name of the list of known classes; "" if the protocol has none.
        trial: The name of the trial in the list, such as "a".
        method: The training objective.
        augmentation: The name of the augmentation of batches; "none" for none.
        seed: The seed from which everything random follows.
        recipe: A name in `backmix.benchmark.recipes.RECIPES`.
        variant: Options of the augmentation as "key=value,key=value", read by `split_names`; "" for the defaults.
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
        """The name of the folder of the cell. No two cells share a name."""
        where = "-".join(part for part in (self.protocol, self.split_list, self.trial) if part)
        parts = [where, self.recipe, self.method, self.augmentation, self.variant, f"seed{self.seed}"]
        return "_".join(_as_folder(part) for part in parts if part)

    @property
    def augmentation_options(self) -> dict[str, Any]:
        """The options in `variant`. Their values are read as YAML, so numbers and booleans get their types."""
        options: dict[str, Any] = {}
        for pair in filter(None, split_names(self.variant)):
            key, equals, value = pair.partition("=")
            if not key or not equals:
                raise ValueError(f"a variant is key=value,key=value; got {self.variant!r}")
            options[key.replace("-", "_")] = read_yaml(value)
        return options

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, for JSON."""
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
    """Return all cells of a grid. Cells that are compared with one another stand side by side.

    The cells of one trial and seed follow each other, so a grid that was cut off is complete for the trials it has.

    Args:
        protocols: The name, split list ("" for none) and trials of each protocol.
        methods: The training objectives.
        augmentations: The names of the augmentations.
        variants: Further (augmentation, variant) pairs, such as the settings of an ablation.
        seeds: The seeds of each trial.
        recipe: The name of the recipe by which all cells are trained.

    Raises:
        ValueError: If a cell is named twice, or if the grid is empty.
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
    """Return a text that every file system accepts as a name. Different texts give different names.

    Letters, digits and `.=+,-` stay. Every other character becomes its number, and so does the underscore, which
    divides the parts.
    """
    return re.sub(r"[^A-Za-z0-9.=+,-]", lambda match: f"%{ord(match[0]):02x}", text)


def find_ablation(name: str) -> tuple[tuple[str, str], ...]:
    """Look up the settings of one ablation, or of all of them.

    Args:
        name: One of `ABLATIONS`, or "all".

    Raises:
        ValueError: If there is no ablation of that name.
    """
    if name == "all":
        return tuple(setting for settings in ABLATIONS.values() for setting in settings)
    if name not in ABLATIONS:
        raise ValueError(f"no ablation {name!r}; there are {', '.join(ABLATIONS)}, or all")
    return ABLATIONS[name]
