"""Find the background that a class leans on: the one that draws most wrong answers to this class."""

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

    The figures count images that are not of the answered class.

    Attributes:
        name: The name of the class or scene whose background it is.
        kind: The kind of background, "class" or "scene".
        share: The share of the images on such backgrounds that are answered as the class.
        otherwise: The same share on all other backgrounds.
        images: The number of images on such backgrounds.
    """

    name: str
    kind: str
    share: float
    otherwise: float
    images: int


def leanings(
    answers: Tensor, backgrounds: Tensor, labels: Tensor, names: Sequence[str], kind: str, classes: int
) -> list[Leaning | None]:
    """Find for each class the background that draws most answers to the class.

    This is the background with the highest share, if the share is clearly above the share on all other backgrounds:
    the 95 % intervals of the two shares (Wilson, 1927) do not overlap. If shares are equal, the background with more
    images counts, then the first.

    Args:
        answers: (n,) int64, the class answered; -1 for none of the classes.
        backgrounds: (n,) int64, the class or scene of the background shown.
        labels: (n,) int64, the class of the object shown; -1 if there is no object.
        names: The names of the backgrounds.
        kind: The kind of the backgrounds, see `Leaning.kind`.
        classes: The number of classes.

    Returns:
        One entry for each class, None if no background stands out.
    """
    pulled = _count(answers, backgrounds, len(names), classes)
    shown = torch.bincount(backgrounds, minlength=len(names)).double()
    # An image of the class itself says nothing about the background: its answer may come from the object.
    own = _count(labels, backgrounds, len(names), classes)
    right = _count(torch.where(answers == labels, answers, -1), backgrounds, len(names), classes)
    hits, tries = (pulled - right).numpy(), (shown[:, None] - own).numpy()
    other_hits, other_tries = hits.sum(0) - hits, tries.sum(0) - tries
    usable = (tries > 0) & (other_tries > 0)
    tries, other_tries = np.maximum(tries, 1), np.maximum(other_tries, 1)
    share, otherwise = hits / tries, other_hits / other_tries
    clear = usable & (wilson(hits, tries)[0] > wilson(other_hits, other_tries)[1])
    highest = np.where(clear, share, -1.0)
    # The first background with the most images among those with the highest share.
    best = np.where(highest == highest.max(0), tries, -1.0).argmax(0)
    return [
        Leaning(names[at[0]], kind, float(share[at]), float(otherwise[at]), int(tries[at])) if clear[at] else None
        for at in zip(best.tolist(), range(classes), strict=True)
    ]


def _count(of: Tensor, backgrounds: Tensor, many: int, classes: int) -> Tensor:
    """Count how often each class occurs with each background: (many, classes) float64; -1 is no class."""
    there = of >= 0
    return torch.bincount(backgrounds[there] * classes + of[there], minlength=many * classes).view(many, -1).double()
