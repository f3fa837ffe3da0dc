"""The images of a trial: what is trained on, and what is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from backmix.benchmark.named_data import has_copy, open_data
from backmix.benchmark.relabel import Joined, Relabelled
from backmix.benchmark.trial import Part, Trial
from backmix.data.source import ImageSource
from backmix.errors import DataError


@dataclass(frozen=True)
class TrialData:
    """Images of a trial. All sources have the known classes, in the order of the trial, as their classes.

    Attributes:
        train: training images of the known classes and nothing else.
        tests: unknown set -> the known test images, and after them its unknown ones, with the label -1.
        notes: what was left out.
    """

    train: ImageSource
    tests: dict[str, ImageSource]
    notes: tuple[str, ...] = ()


def load_trial(trial: Trial, root: Path | None, *, unknown_sets: Sequence[str] | None = None) -> TrialData:
    """Open the images of a trial.

    Args:
        trial: which classes of which data sets.
        root: where the copies are; None: the hub. See `open_data`.
        unknown_sets: which of the trial's. None: all of them, but for those of another data set than the known images
            of which there is no copy; a copy that is there and not whole is an error.

    Raises:
        DataError: an unknown set that the trial does not have, none that is at hand, and as in `open_data`.
    """
    names, notes = _at_hand(trial, root) if unknown_sets is None else (list(unknown_sets), [])
    for name in names:
        if name not in trial.unknown:
            raise DataError(f"{trial.title} has no unknown set {name!r}; it has {', '.join(trial.unknown)}")
    if not names:
        raise DataError(f"{trial.title} needs at least one unknown set: {'; '.join(notes) or 'none was asked for'}")
    classes = trial.train.classes
    train = _known(trial.train, classes, root)
    known = _known(trial.known, classes, root)
    tests: dict[str, ImageSource] = {
        name: Joined([known, _unknown(trial.unknown[name], classes, root)]) for name in names
    }
    return TrialData(train, tests, tuple(notes))


def _at_hand(trial: Trial, root: Path | None) -> tuple[list[str], list[str]]:
    names, notes = [], []
    for name, part in trial.unknown.items():
        if part.data == trial.train.data or has_copy(part.data, root):
            names.append(name)
        else:
            where = "on the hub" if root is None else f"in {root}"
            notes.append(f"the unknown set {name} is left out: there is no copy of {part.data} {where}")
    return names, notes


def _known(part: Part, classes: Sequence[str], root: Path | None) -> Relabelled:
    """Images of a part, labelled by their position in `classes`."""
    source = open_data(part.data, part.split, root=root, classes=part.classes)
    number = {name: label for label, name in enumerate(classes)}
    labels = torch.tensor([number.get(name, -1) for name in source.classes])[source.labels]
    kept = (labels >= 0).nonzero().flatten()
    return Relabelled(source, kept, labels[kept], classes)


def _unknown(part: Part, known: Sequence[str], root: Path | None) -> Relabelled:
    """Images of a part, none of them known."""
    source = open_data(part.data, part.split, root=root, classes=part.classes)
    wanted = torch.tensor([name in set(part.classes) for name in source.classes])
    kept = wanted[source.labels].nonzero().flatten()
    return Relabelled(source, kept, torch.full_like(kept, -1), known)
