"""Means over the trials and seeds of a benchmark. Only results of the same setting are averaged."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from backmix.benchmark.results import FIGURES, Row
from backmix.errors import DataError

ALIKE = ("model", "epochs", "precision", "version", "train_images", "known_images", "unknown_images")
"""The columns in which two results of a trial must agree, so that their difference is due to the augmentation."""

_SHARED = ("model", "epochs", "precision", "version")


@dataclass(frozen=True)
class RowSetting:
    """The values that averaged results have in common. The attributes are columns of `Row`."""

    protocol: str
    split_list: str
    unknown_set: str
    recipe: str
    method: str
    detector: str
    augmentation: str
    variant: str

    @classmethod
    def of(cls, row: Row) -> RowSetting:
        """Return the setting of a row."""
        return cls(**{name: getattr(row, name) for name in cls.__dataclass_fields__})

    @property
    def block(self) -> tuple[str, str, str, str]:
        """The protocol, split list, unknown set and recipe. Figures of different blocks stand in different tables."""
        return self.protocol, self.split_list, self.unknown_set, self.recipe

    @property
    def order(self) -> tuple[Any, ...]:
        """The sort key: block, method, detector, then "none" before other augmentations, defaults before variants."""
        return (*astuple(self)[:6], self.augmentation != "none", self.augmentation, self.variant)

    @property
    def mix(self) -> str:
        """The augmentation and the variant in one text."""
        return f"{self.augmentation} ({self.variant})" if self.variant else self.augmentation


@dataclass(frozen=True)
class Mean:
    """A mean of n values.

    Attributes:
        value: The mean of a figure, in 0..1, or of a difference, in -1..1.
        sd: The standard deviation of the values, with n - 1; None for one value.
        n: The number of values.
        over: The kind of the values: "trials", where each value is the mean over the seeds of a trial, or "seeds" if
            there is only one trial.
    """

    value: float
    sd: float | None
    n: int
    over: str


@dataclass(frozen=True)
class Summary:
    """The means of the figures of one setting.

    Attributes:
        setting: The setting.
        means: The mean of each figure. A figure that no row has is absent.
        trials: The number of trials.
        seeds: The smallest and the largest number of seeds of a trial.
        notes: Sentences that a reader must know: on rows that differ in more than trial and seed, on missing figures,
            and on trials of a list that repeat one another.
    """

    setting: RowSetting
    means: dict[str, Mean]
    trials: int
    seeds: tuple[int, int]
    notes: tuple[str, ...]


def summarise(rows: Iterable[Row], figures: Sequence[str] = FIGURES) -> list[Summary]:
    """Return the mean and the standard deviation of figures over trials.

    The values of trials are averaged; scores are never pooled. A trial with several seeds counts once, with the mean
    over its seeds, because further seeds are not further trials. If there is only one trial, the mean and the deviation
    are taken over its seeds.

    Args:
        rows: The results, in any order and of any number of settings.
        figures: The names of figures in `FIGURES`.

    Returns:
        A summary for each setting, in the order of `RowSetting.order`.

    Raises:
        DataError: If a figure is unknown, if a result occurs twice, or if the rows of a trial have different
            fingerprints.
    """
    check_figures(figures)
    summaries = []
    for setting, members in sorted(by_setting(rows).items(), key=lambda item: item[0].order):
        seeds: dict[str, int] = defaultdict(int)
        for row in members:
            seeds[row.trial] += 1
        means, notes = {}, []
        for figure in figures:
            values = {(row.trial, row.seed): value for row in members if (value := getattr(row, figure)) is not None}
            if values:
                means[figure] = mean_of(values)
            if 0 < len(values) < len(members):
                notes.append(f"{figure} is the mean of {len(values)} of {len(members)} results; the others have none.")
        notes += _repeated(members)
        notes += [note for name in _SHARED if (note := _differing(members, name))]
        extremes = min(seeds.values()), max(seeds.values())
        summaries.append(Summary(setting, means, len(seeds), extremes, tuple(notes)))
    return summaries


def mean_of(values: Mapping[tuple[str, int], float]) -> Mean:
    """Return the mean over trials of values by (trial, seed); see `summarise`.

    Raises:
        ValueError: If there are no values.
    """
    if not values:
        raise ValueError("there is nothing to average: give at least one value")
    over, units = in_units(values)
    found = list(units.values())
    return Mean(statistics.mean(found), statistics.stdev(found) if len(found) > 1 else None, len(found), over)


def in_units(values: Mapping[tuple[str, int], float]) -> tuple[str, dict[str, float]]:
    """Reduce values by (trial, seed) to the units that a mean is taken over.

    Returns:
        "trials" and the mean over the seeds of each trial; or, if there is one trial with several seeds, "seeds" and
        the value of each seed. The units are sorted.
    """
    trials: dict[str, list[float]] = defaultdict(list)
    for (trial, _), value in values.items():
        trials[trial].append(value)
    if len(trials) == 1 and len(values) > 1:
        return "seeds", {f"seed {seed}": value for (_, seed), value in sorted(values.items())}
    return "trials", {trial: statistics.mean(found) for trial, found in sorted(trials.items())}


def by_setting(rows: Iterable[Row]) -> dict[RowSetting, list[Row]]:
    """Return the rows of each setting, sorted by trial and seed.

    Raises:
        DataError: If a result occurs twice, or if the rows of a trial have different fingerprints.
    """
    found: dict[RowSetting, list[Row]] = defaultdict(list)
    keys: set[tuple[Any, ...]] = set()
    fingerprints: dict[tuple[str, str, str], str] = {}
    for row in rows:
        if row.key in keys:
            raise DataError(f"two results for {row.key}; expected one: give each file once")
        keys.add(row.key)
        name = row.protocol, row.split_list, row.trial
        if fingerprints.setdefault(name, row.fingerprint) != row.fingerprint:
            raise DataError(
                f"trial {row.trial} of {row.protocol} {row.split_list} has fingerprints {fingerprints[name]} and "
                f"{row.fingerprint}: its classes are not the same in all rows; expected rows of one list of classes"
            )
        found[RowSetting.of(row)].append(row)
    return {setting: sorted(members, key=lambda row: (row.trial, row.seed)) for setting, members in found.items()}


def check_figures(figures: Iterable[str]) -> None:
    """Raise DataError if a name is not in `FIGURES`."""
    wrong = [name for name in figures if name not in FIGURES]
    if wrong:
        raise DataError(f"no figure {wrong[0]!r}; there are {', '.join(FIGURES)}")


def _repeated(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each set of trials that consist of the same images."""
    trials: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        trials[row.fingerprint].add(row.trial)
    return [
        f"trials {', '.join(sorted(same))} are of the same classes: n counts them as {len(same)}, as published means "
        "do, and intervals come out too narrow."
        for same in trials.values()
        if len(same) > 1
    ]


def _differing(rows: Sequence[Row], name: str) -> str:
    """Return a sentence on the values of a column if the rows differ in it; otherwise an empty text."""
    found: dict[Any, set[str]] = defaultdict(set)
    for row in rows:
        found[getattr(row, name)].add(row.trial)
    if len(found) == 1:
        return ""
    listed = "; ".join(f"{value} (trial {', '.join(sorted(found[value]))})" for value in sorted(found))
    return f"{name} is not the same in all results averaged: {listed}."
