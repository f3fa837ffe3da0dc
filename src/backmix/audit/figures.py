"""Compute the figures of the known images: the accuracy on each set, and the effect of a changed background."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from backmix.audit.counterfactuals import SETS
from backmix.audit.outcomes import Column
from backmix.metrics.bootstrap import RESAMPLES, Interval, bootstrap_means

DIFFERENCES = (
    "background_gap",
    "pasting_cost",
    "flips",
    "flips_same_class",
    "flips_by_pasting",
    "from_background",
)
ENTROPIES = {"original": "entropy_of_originals", "only-background": "entropy_of_backgrounds"}


@dataclass(frozen=True)
class Figures:
    """Figures by name. A figure is None if no image has the sets that it needs.

    Attributes:
        overall: The figures of all images.
        of_class: The figures of each class, by the number of the class.
        chance: The share of pure backgrounds that would be answered correctly if the answers did not depend on the
            classes, with every answer and every class as frequent as it is.
        images: The number of images in each set.
    """

    overall: dict[str, Interval | None]
    of_class: dict[int, dict[str, Interval | None]]
    chance: float | None
    images: dict[str, int]


def known_figures(
    columns: Mapping[str, Column],
    labels: Tensor,
    among: Tensor,
    generator: torch.Generator,
    *,
    resamples: int = RESAMPLES,
) -> Figures:
    """Return the figures of the images of known classes, with bootstrap intervals.

    - The name of a set of `SETS`: the accuracy on this set.
    - background_gap: the accuracy on mixed-same minus the accuracy on mixed-random, of the images in both sets.
    - pasting_cost: the accuracy on the originals minus the accuracy on the repasted images.
    - flips: the share of images whose answer on mixed-random differs from the answer on repasted. Only the background
      differs between these two.
    - flips_same_class: the share of images whose answer on mixed-same differs from the answer on repasted. The other
      background is one of the same class.
    - flips_by_pasting: the share of images whose answer on repasted differs from the answer on the original.
    - from_background: the share of images answered correctly from the background alone.
    - entropy_of_originals, entropy_of_backgrounds: the mean entropy of the probabilities.

    Args:
        columns: The answers of the model, by set; only the sets of `SETS` are used.
        labels: (N,) int64, the class of each image.
        among: (N,) bool, the images to use.
        generator: The random generator that draws the resamples, on the CPU.
        resamples: The number of resamples.
    """
    values, present = _per_image(columns, labels)
    rows = among.nonzero()[:, 0]
    names = list(values)
    table = torch.stack([values[name][rows].double() for name in names], 1)
    there = torch.stack([present[name][rows] for name in names], 1)
    overall, of_class = bootstrap_means(table, there, labels[rows], generator, resamples=resamples)
    return Figures(
        dict(zip(names, overall, strict=True)),
        {number: dict(zip(names, found, strict=True)) for number, found in of_class.items()},
        _chance(columns["only-background"], labels, among),
        {name: int((columns[name].present & among).sum()) for name in SETS},
    )


def _per_image(columns: Mapping[str, Column], labels: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return for each figure the value of each image (N,), and which images count (N,)."""
    right = {name: (columns[name].answer == labels).float() for name in SETS}
    values: dict[str, Tensor] = dict(right)
    present = {name: columns[name].present for name in SETS}

    def both(first: str, second: str) -> Tensor:
        return columns[first].present & columns[second].present

    values["background_gap"] = right["mixed-same"] - right["mixed-random"]
    present["background_gap"] = both("mixed-same", "mixed-random")
    values["pasting_cost"] = right["original"] - right["repasted"]
    present["pasting_cost"] = both("original", "repasted")
    values["flips"] = columns["repasted"].changed(columns["mixed-random"]).float()
    present["flips"] = both("repasted", "mixed-random")
    values["flips_same_class"] = columns["repasted"].changed(columns["mixed-same"]).float()
    present["flips_same_class"] = both("repasted", "mixed-same")
    values["flips_by_pasting"] = columns["original"].changed(columns["repasted"]).float()
    present["flips_by_pasting"] = both("original", "repasted")
    values["from_background"], present["from_background"] = right["only-background"], present["only-background"]
    for name, figure in ENTROPIES.items():
        values[figure], present[figure] = columns[name].entropy, present[name]
    return values, present


def _chance(column: Column, labels: Tensor, among: Tensor) -> float | None:
    rows = column.present & among
    if not rows.any():
        return None
    answers, true = column.answer[rows], labels[rows]
    size = int(max(answers.max(), true.max())) + 1
    answered = torch.bincount(answers[answers >= 0], minlength=size).double()
    return float(answered @ torch.bincount(true, minlength=size).double()) / int(rows.sum()) ** 2
