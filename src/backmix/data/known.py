"""The choice of the known classes, and of the images that are held out to calibrate on."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence

import torch
from torch import Tensor

from backmix.data.names import join_names
from backmix.errors import DataError, some_of
from backmix.prediction.answer import UNKNOWN


def choose_known(classes: Sequence[str], known: Sequence[str | int] | None) -> list[int]:
    """Turn a choice of known classes into numbers.

    A string is read as a name first, and as a number only if no class has that name. So with classes "7", "8", "9" the
    string "8" is the second class. An int is always a number, from 0.

    Args:
        classes: The names of all classes.
        known: The names or numbers of the known classes; None: all classes.

    Returns:
        The numbers of the known classes, ascending. The order of the choice does not matter.

    Raises:
        DataError: If a class does not exist or is chosen twice, or fewer than two classes are chosen.
    """
    chosen: dict[int, str | int] = {}
    for entry in range(len(classes)) if known is None else known:
        number = _class_number(classes, entry)
        if number in chosen:
            raise DataError(
                f"class {classes[number]!r} is chosen twice, as {chosen[number]!r} and {entry!r}; name each class once"
            )
        chosen[number] = entry
    if len(chosen) < 2:
        raise DataError(
            f"{len(chosen)} known class{'' if len(chosen) == 1 else 'es'} chosen; a classifier needs at least two. "
            f"The data has {len(classes)}: {some_of(classes)}"
        )
    return sorted(chosen)


def holdout_split(labels: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hold out a share of the images of every class.

    Args:
        labels: (N,) int64, the label of each image, any values.
        share: The share of each class to hold out, between 0 and 1. If a class has at least two images, at least one is
            held out and at least one is kept.
        generator: The generator that decides which images are held out.

    Returns:
        (N - M,) and (M,) int64, the positions of the kept and of the held-out images, ascending. The only image of a
        class is kept.

    Raises:
        DataError: If labels have another shape, or the share is not strictly between 0 and 1.
    """
    if labels.ndim != 1:
        raise DataError(f"labels must be (N,); got {tuple(labels.shape)}")
    if not 0 < share < 1:
        raise DataError(f"share must lie between 0 and 1; got {share}")
    labels = labels.cpu()
    held = torch.zeros(len(labels), dtype=torch.bool)
    order = torch.randperm(len(labels), generator=generator, device=generator.device).cpu()
    for label in labels.unique():
        of_class = order[labels[order] == label]
        count = min(max(round(len(of_class) * share), 1), len(of_class) - 1)
        held[of_class[:count]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def _class_number(classes: Sequence[str], entry: str | int) -> int:
    if isinstance(entry, int) and not isinstance(entry, bool):
        if 0 <= entry < len(classes):
            return entry
        raise DataError(f"there is no class number {entry}; the data has {len(classes)}, numbered from 0")
    if not isinstance(entry, str):
        raise DataError(f"known classes are names or numbers; got {entry!r}")
    names = [unicodedata.normalize("NFC", name) for name in classes]
    name = unicodedata.normalize("NFC", entry)
    if name in names:
        return names.index(name)
    bare = [other.strip() for other in names]
    if bare.count(name.strip()) == 1:  # A blank at the end of a folder's name is not seen.
        return bare.index(name.strip())
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", name):
        return _class_number(classes, int(name))
    folded = {other.casefold(): other for other in reversed(names)}
    similar = difflib.get_close_matches(name.strip().casefold(), folded, n=3)
    hint = f"did you mean {' or '.join(repr(folded[other]) for other in similar)}?" if similar else ""
    typed = some_of([join_names([other]) for other in classes])
    parted = next((other for other in names if name.strip() in [part.strip() for part in other.split(",")]), None)
    if parted is not None:
        hint = f"a comma that belongs to a name has a backslash before it: {join_names([parted])}"
    raise DataError(f"there is no class {entry!r}; {hint or f'the data has {len(classes)}: {typed}'}")


def check_classes(classes: Sequence[str]) -> None:
    """Raise DataError unless there are at least two class names, all different, and none is called "unknown"."""
    if isinstance(classes, str):
        raise DataError(f"classes are a list of names; got one text, {classes!r}. Give {classes.split(',')!r}")
    if not all(isinstance(name, str) for name in classes):
        other = next(name for name in classes if not isinstance(name, str))
        raise DataError(
            f"names of classes are texts; got {other!r}, which is of type {type(other).__name__}. Give "
            f"[str(name) for name in classes]"
        )
    if len(classes) < 2:
        raise DataError(f"an open-set classifier needs at least two known classes; got {some_of(classes) or 'none'}")
    if len(set(classes)) != len(classes):
        twice = sorted({name for name in classes if list(classes).count(name) > 1})
        raise DataError(f"each known class is named once; twice: {some_of(twice)}")
    if UNKNOWN in classes:
        raise DataError(f'a known class cannot be called "{UNKNOWN}": it is the answer for everything else')
