"""The ways of training that the study compares, by name."""

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
"""The kinds of outliers by name: backgrounds that the foreground bank cuts from the training images; images of the same
kinds of background without an object; images of a data set of other objects."""


@dataclass(frozen=True)
class Training:
    """One way of training.

    Attributes:
        method: The training objective.
        augmentation: The name of the augmentation.
        options: The options of the augmentation.
        outliers: The kind of outliers, one of the values of `OUTLIERS`; None for no outliers.
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
"""The trainings with BackMix: "patch" as in the paper; the others replace the whole background, and differ in how the
object is found and how often it is done."""
EXPOSED = {
    f"{method}, {name}": Training(method=method, outliers=kind)
    for method in OUTLIER_METHODS
    for name, kind in OUTLIERS.items()
}
TRAININGS: dict[str, Training] = {PLAIN: Training(), **MIXED, **EXPOSED}
MAIN = (PLAIN, "patch", "swap", "swap, true masks")
"""The trainings that parts (a) and (c) compare."""
