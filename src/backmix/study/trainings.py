"""The ways to train that the study compares, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PLAIN = "plain"
OUTLIER_METHODS = ("outlier-exposure", "entropic")
OUTLIERS = {
    "estimated backgrounds": "backgrounds",
    "pure backgrounds": "scenes",
    "outlier set": "set",
}
"""How outliers are called, and which they are: backgrounds cut from the training images by the bank; images of the same
kinds of background without an object; images of a data set of other objects."""


@dataclass(frozen=True)
class Training:
    """One way to train.

    Attributes:
        method: training objective.
        augmentation: by name.
        options: of the augmentation.
        outliers: one of the values of `OUTLIERS`, None for none.
    """

    method: str = "softmax"
    augmentation: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    outliers: str | None = None


def _swap(**options: Any) -> Training:
    return Training(augmentation="backmix", options={"apply": "swap", **options})


MIXED = {
    "patch": Training(augmentation="backmix"),
    "swap": _swap(foreground="free"),
    "swap, saliency": _swap(foreground="saliency"),
    "swap, true masks": _swap(foreground="masks"),
    "swap, true masks, every image": _swap(foreground="masks", probability=1.0),
}
"""BackMix: as in the paper, and with the whole background replaced, by how the object is found."""
EXPOSED = {
    f"{method}, {name}": Training(method=method, outliers=kind)
    for method in OUTLIER_METHODS
    for name, kind in OUTLIERS.items()
}
TRAININGS: dict[str, Training] = {PLAIN: Training(), **MIXED, **EXPOSED}
MAIN = (PLAIN, "patch", "swap", "swap, true masks")
"""What parts (a) and (c) compare."""
