"""The plan of a study: the cells that its parts need."""

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
"""Part (b) uses the prior nearest to this one."""


def middle_prior(priors: Sequence[float]) -> float | None:
    """Return the prior nearest to `MIDDLE`; None if there are no priors to choose from."""
    return min(priors, key=lambda prior: (abs(prior - MIDDLE), prior)) if priors else None


def strong_prior(priors: Sequence[float]) -> float | None:
    """Return the largest prior; None if there are no priors to choose from."""
    return max(priors) if priors else None


def parts_of(priors: Sequence[float], parts: Sequence[str]) -> list[str]:
    """Return the parts that are possible. Part (a) needs at least two priors."""
    return [part for part in parts if part != "a" or len(priors) > 1]


def trainings_of(part: str) -> tuple[str, ...]:
    """Return the trainings that a part compares, the plain training first."""
    return {"a": MAIN, "b": (*MAIN, *EXPOSED), "c": MAIN, "d": (PLAIN, *MIXED)}[part]


def cells_of(priors: Sequence[float], parts: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Return every cell once, seed by seed, so that an unfinished study can already be compared.

    Args:
        priors: The priors to choose from; empty if the backgrounds cannot be changed.
        parts: The keys of parts in `PARTS`.
        seeds: The seeds of each cell.
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
