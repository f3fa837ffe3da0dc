"""Which background a class leans on: the one that turns other answers into this class more often than others do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backmix.metrics.chance import wilson


@dataclass(frozen=True)
class Leaning:
    """A background that makes a model answer a class.

    Attributes:
        name: of the class or scene whose background it is.
        kind: "class" or "scene".
        share: of the images on such backgrounds, none of them of the class that is answered, answered as it.
        otherwise: the same share on all other backgrounds.
        images: number of images on such backgrounds.
    """

    name: str
    kind: str
    share: float
    otherwise: float
    images: int


def leanings(
    answers: Tensor, backgrounds: Tensor, labels: Tensor, names: Sequence[str], kind: str, classes: int
) -> list[Leaning | None]:
    """For each class the background that pulls answers to it most.

    That is the one with the highest share, if it is surely more than the share on all other backgrounds: their 95 %
    intervals (Wilson, 1927) do not meet. Of equal shares the one with more images counts, then the first.

    Args:
        answers: (n,) int64 class answered, -1 for none of the classes.
        backgrounds: (n,) int64 class or scene of the background shown.
        labels: (n,) int64 class of the object shown, -1 where there is none.
        names: of the backgrounds.
        kind: what they are, see `Leaning.kind`.
        classes: number of classes.

    Returns:
        One for each class, None where no background stands out.
    """
    pulled = _count(answers, backgrounds, len(names), classes)
    shown = torch.bincount(backgrounds, minlength=len(names)).double()
    # What is of the class itself says nothing of the background: it may be right for the object.
    own = _count(labels, backgrounds, len(names), classes)
    right = _count(torch.where(answers == labels, answers, -1), backgrounds, len(names), classes)
    hits, tries = (pulled - right).numpy(), (shown[:, None] - own).numpy()
    other_hits, other_tries = hits.sum(0) - hits, tries.sum(0) - tries
    usable = (tries > 0) & (other_tries > 0)
    tries, other_tries = np.maximum(tries, 1), np.maximum(other_tries, 1)
    share, otherwise = hits / tries, other_hits / other_tries
    clear = usable & (wilson(hits, tries)[0] > wilson(other_hits, other_tries)[1])
    highest = np.where(clear, share, -1.0)
    # The first of those with the most images, of those with the highest share.
    best = np.where(highest == highest.max(0), tries, -1.0).argmax(0)
    return [
        Leaning(names[at[0]], kind, float(share[at]), float(otherwise[at]), int(tries[at])) if clear[at] else None
        for at in zip(best.tolist(), range(classes), strict=True)
    ]


def _count(of: Tensor, backgrounds: Tensor, many: int, classes: int) -> Tensor:
    """(many, classes) float64: how often each class meets each background; -1 is no class."""
    there = of >= 0
    return torch.bincount(backgrounds[there] * classes + of[there], minlength=many * classes).view(many, -1).double()
