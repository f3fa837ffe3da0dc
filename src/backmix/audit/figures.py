"""Figures of the known images: how accurate on each set, and what changes when only the background does."""

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
    """Figures by name, None where no image has what they need.

    Attributes:
        overall: of all images.
        of_class: of each class, by number.
        chance: share of pure backgrounds that would be answered right if answers and classes went together by chance
            alone, each as often as they are.
        images: number of images in each set.
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
    """Figures of the images of known classes, with bootstrap intervals.

    `SETS`: accuracy on each. background_gap: accuracy on mixed-same minus that on mixed-random, of the images in both.
    pasting_cost: accuracy on the originals minus that on the repasted ones. flips: share whose answer on mixed-random
    differs from that on repasted, where only the background differs. flips_same_class: likewise on mixed-same, where
    the other background is one of the same class. flips_by_pasting: from original to repasted. from_background: share
    answered right on the background alone. entropy_of_...: mean entropy of the probabilities.

    Args:
        columns: what the model said, by set; those of `SETS` are looked at.
        labels: (N,) int64 class of each image.
        among: (N,) bool, which images to look at.
        generator: on the CPU; draws the resamples.
        resamples: how many.
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
    """For each figure what each image adds to it (N,), and which images count."""
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
