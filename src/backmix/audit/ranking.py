"""The images whose answer the background decides, the clearest first."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from backmix.audit.outcomes import Column

SHOWN = 100


def background_scores(columns: Mapping[str, Column]) -> Tensor:
    """How much of an image's probability of its own class its background carries, (N,) float64 in -1..1.

    The mean on its own background and on one of its class, minus the mean on those of a random and of the next class;
    of what there is. NaN where one of the two is missing.
    """
    fitting = _mean([columns["repasted"], columns["mixed-same"]])
    other = _mean([columns["mixed-random"], columns["mixed-next"]])
    return fitting - other


def decided_by_background(columns: Mapping[str, Column], labels: Tensor, among: Tensor) -> list[int]:
    """Images that are answered right on their own background and wrong on that of another, at most `SHOWN`.

    Args:
        columns: what the model said, by set.
        labels: (N,) int64 class of each image.
        among: (N,) bool, which images to look at.

    Returns:
        Their positions, those with the highest `background_scores` first, ties in their own order.
    """
    right = {name: column.present & (column.answer == labels) for name, column in columns.items()}
    wrong = [columns[name].present & ~right[name] for name in ("mixed-random", "mixed-next")]
    rows = (among & right["repasted"] & (wrong[0] | wrong[1])).nonzero()[:, 0]
    scores = background_scores(columns)[rows].nan_to_num(-2.0)
    order = scores.argsort(descending=True, stable=True)[:SHOWN]
    found: list[int] = rows[order].tolist()
    return found


def _mean(columns: list[Column]) -> Tensor:
    return torch.stack([column.truth.double() for column in columns]).nanmean(0)
