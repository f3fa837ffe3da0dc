"""Which cells the parts of a study need."""

from __future__ import annotations

from collections.abc import Sequence

from backmix.study.cell import Cell
from backmix.study.trainings import EXPOSED, MAIN, MIXED, PLAIN

PARTS = {
    "a": "What a prior between object and background does",
    "b": "Backgrounds as outliers",
    "c": "Three predictions of why BackMix works",
    "d": "The audit of one network, trained in six ways",
}
MIDDLE = 0.8
"""About the prior of part (b)."""


def middle_prior(priors: Sequence[float]) -> float | None:
    """The prior nearest to `MIDDLE`; None where there is none to choose."""
    return min(priors, key=lambda prior: (abs(prior - MIDDLE), prior)) if priors else None


def strong_prior(priors: Sequence[float]) -> float | None:
    """The largest prior; None where there is none to choose."""
    return max(priors) if priors else None


def parts_of(priors: Sequence[float], parts: Sequence[str]) -> list[str]:
    """Those of the parts that can be had: (a) needs priors to choose from."""
    return [part for part in parts if part != "a" or len(priors) > 1]


def trainings_of(part: str) -> tuple[str, ...]:
    """What a part compares, the plain training first."""
    return {"a": MAIN, "b": (*MAIN, *EXPOSED), "c": MAIN, "d": (PLAIN, *MIXED)}[part]


def cells_of(priors: Sequence[float], parts: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Every cell once, seed by seed, so that what is done so far can be compared.

    Args:
        priors: to choose from; empty where backgrounds are as they are.
        parts: of `PARTS`.
        seeds: of each cell.
    """
    middle, strong = middle_prior(priors), strong_prior(priors)
    wanted: dict[tuple[str, float | None], None] = {}
    for part in parts_of(priors, parts):
        at: Sequence[float | None] = priors if part == "a" else (middle if part == "b" else strong,)
        wanted |= {(training, prior): None for prior in at for training in trainings_of(part)}
    order = sorted(wanted, key=lambda of: of[1] or 0.0)
    return [
        Cell(training, prior, seed, estimated=prior == strong and training in trainings_of("d"))
        for seed in seeds
        for training, prior in order
    ]
