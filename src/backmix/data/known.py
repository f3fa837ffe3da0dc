"""Which classes are known, and which of their images are held out to calibrate on."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from backmix.errors import DataError


def choose_known(classes: Sequence[str], known: Sequence[str | int] | None) -> list[int]:
    """Turn a choice of known classes into numbers.

    A string is a name first: only when no class is called that is it read as a number, so with classes "7", "8", "9"
    the string "8" is the second class. An int is always a number, from 0.

    Args:
        classes: names of all classes.
        known: names or numbers; None: all classes.

    Returns:
        Numbers of the known classes, ascending: the order of the choice does not matter.

    Raises:
        DataError: a class that does not exist, one chosen twice, or fewer than two.
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
            f"The data has {len(classes)}: {_some(classes)}"
        )
    return sorted(chosen)


def split_names(text: str) -> list[str]:
    r"""Names that a person typed as a,b,c; a comma or a backslash that belongs to a name has a backslash before it.

    Blanks around a name are not part of it, and empty names are left out.
    """
    parts = re.findall(r"(?:\\[\\,]|[^,])+", text)
    return [name for part in parts if (name := re.sub(r"\\([\\,])", r"\1", part).strip())]


def join_names(names: Iterable[str]) -> str:
    """Names as `split_names` reads them."""
    return ",".join(re.sub(r"([\\,])", r"\\\1", name) for name in names)


def holdout_split(labels: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Put a share of the images of every class aside.

    Args:
        labels: (N,) int64, any values.
        share: part of each class to hold out, between 0 and 1; at least one image is held out and at least one kept
            of every class that has two.
        generator: decides which.

    Returns:
        (N - M,) and (M,) int64 positions kept and held out, ascending. The only image of a class is kept.

    Raises:
        DataError: labels of another shape, or a share that is not strictly between 0 and 1.
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
    for spelling in (name, name.strip()):
        if spelling in names:
            return names.index(spelling)
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", name):
        return _class_number(classes, int(name))
    folded = {other.casefold(): other for other in reversed(names)}
    similar = difflib.get_close_matches(name.strip().casefold(), folded, n=3)
    hint = f"did you mean {' or '.join(repr(folded[other]) for other in similar)}?" if similar else ""
    raise DataError(f"there is no class {entry!r}; {hint or f'the data has {len(classes)}: {_some(classes)}'}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
