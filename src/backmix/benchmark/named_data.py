"""Open a data set of the benchmark by name, with its classes in canonical order, or refuse the copy.

Published figures stand for whole data sets. So a copy that lacks images or classes, or that holds another data set, is
refused, and the error names what was found. The label of an image follows from the name of its class, never from a
number in the copy.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from backmix.benchmark.class_names import match_names
from backmix.benchmark.data_sets import DATA, NamedData, Split
from backmix.benchmark.relabel import Joined, Relabelled
from backmix.data.folder import FolderSource
from backmix.data.images import readable
from backmix.data.load import available_splits, load_source, recorded
from backmix.data.parquet import HubSource
from backmix.data.source import ImageSource, count_per_class
from backmix.data.table import TableSource
from backmix.errors import DataError, some_of

__all__ = ["DATA", "NamedData", "Split", "expected_images", "find_data", "has_copy", "open_data", "similar"]


def open_data(name: str, split: str, *, root: Path | None = None, classes: Sequence[str] | None = None) -> ImageSource:
    """Open a split of a named data set.

    Args:
        name: One of `DATA`, or the embedded digits: "digits" or "digits:prior=0.5" as in `load_source`.
        split: The name of one of its splits.
        root: A folder with a folder for each data set, which holds Parquet files or class folders as in `load_source`.
            With a root the hub is never asked. None: The hub.
        classes: The classes that must be complete. The copy may lack the others. None: All classes.

    Returns:
        All images of the copy. The `classes` are the classes of the data set in canonical order, whatever order and
        names the copy has.

    Raises:
        DataError: If there is no data set, split or copy of that name, or if the copy has other classes or numbers of
            images than it should. The error says what was found, what was expected and what to do.
    """
    if _is_digits(name):
        return load_source(recorded(name), split)
    data = find_data(name)
    wanted = data.splits.get(split)
    if wanted is None:
        raise DataError(f"{name} has no split {split!r}; it has {', '.join(data.splits)}")
    numbers = _numbers(name, data, classes)
    path = None if root is None else _folder(name, data, root)
    where = f"the copy of {name} in {readable(path)}" if path is not None else f"{name} from the hub ({data.hub})"
    try:
        source = _open(name, data, split, path)
        _check_counts(data, wanted, source, numbers, everything=classes is None)
    except DataError as error:
        whole = f"{split!r} has {wanted.images} images of {len(data.classes)} classes"
        hint = f" ({data.hint})" if data.hint else ""
        raise DataError(
            f"{where} cannot be used: {error}. Expected: {whole}{hint}. Give a whole copy, or choose a trial that "
            f"needs nothing but what is there"
        ) from error
    return source


def find_data(name: str) -> NamedData:
    """Look up a data set by name.

    Raises:
        DataError: If there is no data set of that name.
    """
    if name in DATA:
        return DATA[name]
    raise DataError(f"there is no data set {name!r}; there are {', '.join(DATA)}, and digits{similar(name, DATA)}")


def has_copy(name: str, root: Path | None) -> bool:
    """Return whether there is a place to read a copy from.

    With a root this is a folder of the data set under the root. Without a root it is an id on the hub.

    Raises:
        DataError: If there is no data set of that name.
    """
    if _is_digits(name):
        return True
    data = find_data(name)
    return data.hub is not None if root is None else any((root / folder).exists() for folder in data.folders)


def expected_images(name: str, split: str, classes: Sequence[str]) -> int:
    """Return the number of images of these classes together.

    The number is approximate for data sets that only give a range for the size of a class.

    Raises:
        DataError: If there is no data set, split or class of that name.
    """
    if _is_digits(name):
        counts = count_per_class(load_source(recorded(name), split))
        return sum(counts[number] for number in classes)
    data = find_data(name)
    if split not in data.splits:
        raise DataError(f"{name} has no split {split!r}; it has {', '.join(data.splits)}")
    counted = data.splits[split]
    numbers = _numbers(name, data, classes)
    if isinstance(counted.per_class, range):
        return round(counted.images * len(numbers) / len(data.classes))
    if isinstance(counted.per_class, int):
        return counted.per_class * len(numbers)
    return sum(counted.per_class[number] for number in numbers)


def _is_digits(name: str) -> bool:
    return name.partition(":")[0] == "digits"


def _numbers(name: str, data: NamedData, classes: Sequence[str] | None) -> list[int]:
    """Return the places of the classes in the canonical order; the places of all classes for None."""
    places = {of_class: place for place, of_class in enumerate(data.classes)}
    for unknown in [of_class for of_class in classes or () if of_class not in places]:
        raise DataError(f"{name} has no class {unknown!r}{similar(unknown, places)}")
    return list(places.values()) if classes is None else [places[of_class] for of_class in classes]


def _folder(name: str, data: NamedData, root: Path) -> Path:
    for folder in data.folders:
        if (root / folder).exists():
            return root / folder
    if not root.is_dir():
        raise DataError(f"there is no folder {readable(root)}, where the data should be")
    there = ", ".join(sorted(os.listdir(root))[:20]) or "nothing"
    hub = f"leave the folder out to take {data.hub} from the hub" if data.hub else "the hub has no copy that is known"
    raise DataError(
        f"there is no copy of {name} in {readable(root)}: looked for {' or '.join(data.folders)}, found {there}. Put "
        f"one there, a folder of {'/'.join(data.splits)}-*.parquet or of class folders; {hub}"
    )


def _open(name: str, data: NamedData, split: str, path: Path | None) -> ImageSource:
    """Open the images of the copy, unchecked.

    If the copy lacks a split that is made of others, the others are joined.
    """
    parts = data.splits[split].parts
    if parts and (path is None or split not in available_splits(path)):
        return Joined([_open(name, data, part, path) for part in parts])
    if path is None:
        source: ImageSource = _open_hub(data, data.splits[split].hub or split)
    elif data.pooled and not any(path.glob("*.parquet")):
        source = FolderSource(path, min_classes=1)
    else:
        source = load_source(path, split)
    return _canonical(name, data, source)


def _open_hub(data: NamedData, split: str) -> ImageSource:
    if data.hub is None:
        raise DataError("the hub has no copy that is known; name a folder that holds one")
    if data.column is None:
        return HubSource(data.hub, split, config=data.config)
    try:
        import datasets

        table = datasets.load_dataset(data.hub, data.config, split=split)
        return TableSource(table.select_columns(["image", data.column]), f"{data.hub}:{split}")
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"it could not be loaded ({type(error).__name__}: {error})") from error


def _canonical(name: str, data: NamedData, source: ImageSource) -> ImageSource:
    """Return the same images under the classes of the data set."""
    labels = source.labels
    if data.pooled:
        return Relabelled(source, torch.arange(len(labels)), torch.zeros_like(labels), data.classes)
    matched = match_names(source.classes, name, data.classes)
    strange = [found for found, place in zip(source.classes, matched, strict=True) if place is None]
    if strange and not data.more_classes:
        raise DataError(
            f"it has {len(source.classes)} classes, of which {len(strange)} are none of {name}: "
            f"{some_of(strange, 5, quoted=True)}; expected names such as {some_of(data.classes[:3], quoted=True)}"
        )
    known = [place for place in matched if place is not None]
    if twice := [data.classes[place] for place in set(known) if known.count(place) > 1]:
        raise DataError(f"two of its classes stand for {some_of(twice, 5, quoted=True)}")
    if bool((labels < 0).any()) and not data.more_classes:
        raise DataError(f"{int((labels < 0).sum())} of its images have no class")
    places = torch.tensor([-1 if place is None else place for place in matched] + [-1])
    moved = places[labels]  # A label of -1, no class, takes the last place.
    kept = (moved >= 0).nonzero().flatten()
    return Relabelled(source, kept, moved[kept], data.classes)


def _check_counts(data: NamedData, split: Split, source: ImageSource, numbers: list[int], *, everything: bool) -> None:
    counts = torch.bincount(source.labels, minlength=len(data.classes)).tolist()
    wrong = []
    for number in numbers:
        expected = split.per_class[number] if isinstance(split.per_class, tuple) else split.per_class
        good = counts[number] in expected if isinstance(expected, range) else counts[number] == expected
        if not good:
            should = f"{expected.start} to {expected.stop - 1}" if isinstance(expected, range) else str(expected)
            wrong.append(f"{data.classes[number]} has {counts[number]} instead of {should}")
    if wrong:
        which = (
            f"{len(wrong)} of the {len(numbers)} classes that are needed have another number of images than they should"
        )
        there = f"it has {sum(counts)} images of {sum(count > 0 for count in counts)} classes"
        raise DataError(f"{which} ({'; '.join(wrong[:3])}{'; ...' if wrong[3:] else ''}); {there}")
    if everything and sum(counts) != split.images:
        raise DataError(f"it has {sum(counts)} images")


def similar(name: str, names: Iterable[str]) -> str:
    """Return the end of a sentence that asks whether a similar name was meant; empty if no name is similar."""
    close = difflib.get_close_matches(name, list(names), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""
