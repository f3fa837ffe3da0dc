"""A protocol: its lists of known classes, and the trials of each list with their notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backmix.benchmark.trial import Trial
from backmix.errors import DataError


@dataclass(frozen=True)
class Protocol:
    """A protocol of the benchmark.

    Attributes:
        name: The name in tables and on the command line.
        image_size: The side of the images in pixels.
        split_lists: The name of each list of known classes -> where the list comes from. The key is "" if the protocol
            has a single list without a name.
        build: A function from the name of a list to its trials. Their notes do not yet say which trials repeat others.
    """

    name: str
    image_size: int
    split_lists: Mapping[str, str]
    build: Callable[[str], Sequence[Trial]] = field(repr=False, compare=False)

    @property
    def default_list(self) -> str:
        """The list that is used if none is named.

        It is the list without a name if there is one, otherwise cssr, otherwise neal. BackMix may have used either of
        the last two.
        """
        return next(name for name in ("", "cssr", "neal") if name in self.split_lists)

    def trials(self, split_list: str = "") -> dict[str, Trial]:
        """Return the trials of a list by name.

        Args:
            split_list: The name of the list, a key of `split_lists`.

        Raises:
            DataError: If there is no list of that name, or if a list has to be named.
        """
        if split_list not in self.split_lists:
            named = ", ".join(filter(None, self.split_lists))
            if not named:
                raise DataError(f"{self.name} has one list of classes, without a name; got {split_list!r}")
            raise DataError(f"{self.name} has the split lists {named}; got {split_list!r}. Name one of them")
        every = {name: self.build(name) for name in self.split_lists}
        return {trial.name: replace(trial, notes=trial.notes + _repeats(trial, every)) for trial in every[split_list]}


def _repeats(trial: Trial, every: Mapping[str, Sequence[Trial]]) -> tuple[str, ...]:
    """Return notes on the trials that equal this one or share its known classes.

    All trials concerned get the same text.
    """
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
