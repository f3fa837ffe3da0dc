"""Which background a class leans on: the one that turns other answers into this class more often than others do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Z = 1.959963984540054
"""Of the 95 % interval."""


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
    hits, tries = pulled - right, shown[:, None] - own
    found: list[Leaning | None] = []
    for number in range(classes):
        best: Leaning | None = None
        hit, tried = hits[:, number].tolist(), tries[:, number].tolist()
        for place, name in enumerate(names):
            rest = sum(tried) - tried[place]
            if not tried[place] or not rest:
                continue
            share, otherwise = hit[place] / tried[place], (sum(hit) - hit[place]) / rest
            if wilson(hit[place], tried[place])[0] <= wilson(sum(hit) - hit[place], rest)[1]:
                continue
            if best is None or (share, tried[place]) > (best.share, best.images):
                best = Leaning(name, kind, share, otherwise, int(tried[place]))
        found.append(best)
    return found


def wilson(hits: float, tries: float) -> tuple[float, float]:
    """Ends of Wilson's 95 % interval for a share; `tries` is above 0."""
    share = hits / tries
    middle = share + Z**2 / (2 * tries)
    spread = Z * math.sqrt(share * (1 - share) / tries + Z**2 / (4 * tries**2))
    scale = 1 + Z**2 / tries
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def _count(of: Tensor, backgrounds: Tensor, many: int, classes: int) -> Tensor:
    """(many, classes) float64: how often each class meets each background; -1 is no class."""
    there = of >= 0
    return torch.bincount(backgrounds[there] * classes + of[there], minlength=many * classes).view(many, -1).double()
