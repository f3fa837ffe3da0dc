"""The images of a trial, for training and for testing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from backmix.benchmark.named_data import has_copy, open_data
from backmix.benchmark.relabel import Joined, Relabelled
from backmix.benchmark.trial import Trial, TrialPart
from backmix.data.source import ImageSource
from backmix.errors import DataError


@dataclass(frozen=True)
class TrialData:
    """The images of a trial. The classes of every source are the known classes, in the order of the trial.

    Attributes:
        train: The training images of the known classes, and no other images.
        tests: Unknown set -> the known test images, followed by the images of the unknown set with the label -1.
        notes: Sentences that say what was left out.
    """

    train: ImageSource
    tests: dict[str, ImageSource]
    notes: tuple[str, ...] = ()


def load_trial(trial: Trial, root: Path | None, *, unknown_sets: Sequence[str] | None = None) -> TrialData:
    """Open the images of a trial.

    Args:
        trial: The trial with its classes and data sets.
        root: The folder of the copies. None: The hub. See `open_data`.
        unknown_sets: The unknown sets to open. None: All unknown sets of the trial, except those from another data set
            than the known images if there is no copy of that data set. A copy that is incomplete is an error.

    Raises:
        DataError: If the trial does not have an unknown set of that name, or if no unknown set is available. See also
            `open_data`.
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
    """Return the names of the unknown sets that are available, and notes on those that are not."""
    names, notes = [], []
    for name, part in trial.unknown.items():
        if part.data == trial.train.data or has_copy(part.data, root):
            names.append(name)
        else:
            where = "on the hub" if root is None else f"in {root}"
            notes.append(f"the unknown set {name} is left out: there is no copy of {part.data} {where}")
    return names, notes


def _known(part: TrialPart, classes: Sequence[str], root: Path | None) -> Relabelled:
    """Open the images of a part. The label of an image is the position of its class in `classes`."""
    source = open_data(part.data, part.split, root=root, classes=part.classes)
    number = {name: label for label, name in enumerate(classes)}
    labels = torch.tensor([number.get(name, -1) for name in source.classes])[source.labels]
    kept = (labels >= 0).nonzero().flatten()
    return Relabelled(source, kept, labels[kept], classes)


def _unknown(part: TrialPart, known: Sequence[str], root: Path | None) -> Relabelled:
    """Open the images of a part, with the label -1 for all of them."""
    source = open_data(part.data, part.split, root=root, classes=part.classes)
    wanted = torch.tensor([name in set(part.classes) for name in source.classes])
    kept = wanted[source.labels].nonzero().flatten()
    return Relabelled(source, kept, torch.full_like(kept, -1), known)
