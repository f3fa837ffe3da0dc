"""A protocol: its lists of known classes, and their trials with what there is to say about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backmix.benchmark.trial import Trial
from backmix.errors import DataError


@dataclass(frozen=True)
class Protocol:
    """A benchmark.

    Attributes:
        name: in tables and on the command line.
        image_size: side in pixels at which it is run.
        split_lists: list of known classes -> where it comes from; the key is "" where there is one list without a name.
        build: list -> its trials, before their notes say which of them repeat others.
    """

    name: str
    image_size: int
    split_lists: Mapping[str, str]
    build: Callable[[str], Sequence[Trial]] = field(repr=False, compare=False)

    @property
    def default_list(self) -> str:
        """The list to take where none is named: of several cssr, otherwise neal, the two that BackMix may have used."""
        return next(name for name in ("", "cssr", "neal") if name in self.split_lists)

    def trials(self, split_list: str = "") -> dict[str, Trial]:
        """Trials of a list by name.

        Args:
            split_list: one of `split_lists`.

        Raises:
            DataError: there is no such list, or one has to be named.
        """
        if split_list not in self.split_lists:
            named = ", ".join(filter(None, self.split_lists))
            if not named:
                raise DataError(f"{self.name} has one list of classes, without a name; got {split_list!r}")
            raise DataError(f"{self.name} has the split lists {named}; got {split_list!r}. Name one of them")
        every = {name: self.build(name) for name in self.split_lists}
        return {trial.name: replace(trial, notes=trial.notes + _repeats(trial, every)) for trial in every[split_list]}


def _repeats(trial: Trial, every: Mapping[str, Sequence[Trial]]) -> tuple[str, ...]:
    """Which trials are the same as this one or have its known classes; in words that are the same for all of them."""
    notes = []
    own = every[trial.split_list]
    where = f"{trial.protocol} {trial.split_list}".strip()
    same = [other.name for other in own if other.fingerprint == trial.fingerprint]
    alike = [other.name for other in own if set(other.train.classes) == set(trial.train.classes)]
    if len(same) > 1:
        notes.append(f"{where}: trials {', '.join(same)} are of the same classes, so they count for one")
    if len(alike) > len(same):
        notes.append(f"{where}: trials {', '.join(alike)} have the same known classes, and other unknown ones")
    fingerprints = {name: {other.fingerprint for other in trials} for name, trials in every.items()}
    equal = [name for name, found in fingerprints.items() if found == fingerprints[trial.split_list]]
    if len(equal) > 1:
        notes.append(f"{trial.protocol}: the lists {' and '.join(map(_list_name, equal))} hold the same trials")
    twins = [
        f"{other.name} of {_list_name(name)}"
        for name, trials in every.items()
        if name not in equal or name == trial.split_list
        for other in trials
        if other.fingerprint == trial.fingerprint
    ]
    if len(twins) > len(same):
        notes.append(f"{trial.protocol}: of the same classes are the trials {', '.join(twins)}")
    return tuple(notes)


def _list_name(name: str) -> str:
    return name or "its own list"
