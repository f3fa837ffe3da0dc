"""The results file of a benchmark, with a row for each cell, unknown set and detector."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from backmix.errors import DataError
from backmix.files import write_text

KEY = (
    "protocol",
    "split_list",
    "trial",
    "unknown_set",
    "method",
    "augmentation",
    "variant",
    "seed",
    "recipe",
    "detector",
)
"""The columns that identify a result. No two rows share their values."""

FIGURES = (
    "accuracy",
    "auroc",
    "oscr",
    "aupr_in",
    "aupr_out",
    "fpr95",
    "detection_accuracy",
    "accepted_known",
    "rejected_unknown",
    "accuracy_with_rejection",
    "macro_f1",
    "held_out_accuracy",
)
"""The columns with measured figures, each in 0..1. `backmix.inference.evaluation.figures` defines them."""

LOWER_IS_BETTER = frozenset({"fpr95"})
"""The figures for which lower is better. For all others, higher is better."""


@dataclass(frozen=True)
class Row:
    """The figures of one detector on one unknown set, for one training.

    The attributes are the columns of the file, in their order.

    Attributes:
        protocol: The name of the protocol.
        split_list: The list of known classes; "" if the protocol has none.
        trial: The name of the trial in the list.
        fingerprint: The fingerprint of the classes of the trial.
        unknown_set: The name of the set from which the unknown images come.
        method: The training objective.
        augmentation: The name of the augmentation of batches; "none" for none.
        variant: The options of the augmentation that an ablation changes; "" for the defaults.
        seed: The seed of the training.
        recipe: The name of the recipe of the training.
        detector: The unknown score; "method" is the method's own.
        accuracy: For this figure and the following ones see `FIGURES`. None if a figure does not exist, such as an
            AUROC without unknown images.
        held_out_accuracy: The accuracy on known images that were held out from training.
        train_images: The number of images in training.
        known_images: The number of known test images.
        unknown_images: The number of unknown test images.
        model: The backbone.
        epochs: The number of epochs of the training.
        precision: The arithmetic precision of the training.
        device: The kind and model of the machine's processor.
        threads: The number of threads of the processor.
        seconds: The seconds of the training, 0 or more; None if they were not measured.
        version: The version of this package, with the fingerprint of its code.

    Raises:
        DataError: If a text contains a line break, if a number is negative, or if a figure is outside 0..1. NaN becomes
            None.
    """

    protocol: str
    split_list: str
    trial: str
    fingerprint: str
    unknown_set: str
    method: str
    augmentation: str
    variant: str
    seed: int
    recipe: str
    detector: str
    accuracy: float | None
    auroc: float | None
    oscr: float | None
    aupr_in: float | None
    aupr_out: float | None
    fpr95: float | None
    detection_accuracy: float | None
    accepted_known: float | None
    rejected_unknown: float | None
    accuracy_with_rejection: float | None
    macro_f1: float | None
    held_out_accuracy: float | None
    train_images: int
    known_images: int
    unknown_images: int
    model: str
    epochs: int
    precision: str
    device: str
    threads: int
    seconds: float | None
    version: str

    def __post_init__(self) -> None:
        for name, kind in KINDS.items():
            value = getattr(self, name)
            if isinstance(value, float) and math.isnan(value):
                object.__setattr__(self, name, None)
            elif kind == "str" and any(ord(letter) < 32 for letter in value):
                raise DataError(f"{name} is {value!r}; expected a text without line breaks and control characters")
            elif kind != "str" and value is not None and (not 0 <= value < math.inf or (name in FIGURES and value > 1)):
                raise DataError(f"{name} is {value}; expected {'0..1' if name in FIGURES else 'a number, 0 or more'}")

    @property
    def key(self) -> tuple[Any, ...]:
        """The values of the columns in `KEY`."""
        return tuple(getattr(self, name) for name in KEY)


KINDS: dict[str, str] = {field.name: str(field.type) for field in fields(Row)}
"""The type of each column: "str", "int" or "float | None"."""

_WHOLE = re.compile(r"-?[0-9]+")
_EXPECTED = {"str": "a text", "int": "a whole number", "float | None": "a number, or nothing"}


def row_from(values: Mapping[str, Any], where: str) -> Row:
    """Make a row from the values in a file.

    Args:
        values: Column -> value, as text or as a value read from JSON. An empty text stands for a missing figure.
        where: The place that errors name, such as the file and the line.

    Raises:
        DataError: If a column is missing or unknown, or if a value has the wrong type.
    """
    _check_columns(list(values), where)
    parsed: dict[str, Any] = {}
    for name, kind in KINDS.items():
        try:
            parsed[name] = _parse(values[name], kind)
        except ValueError:
            raise DataError(f"{where}: {name} is {values[name]!r}; expected {_EXPECTED[kind]}") from None
    try:
        return Row(**parsed)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def read_results(path: Path) -> list[Row]:
    """Read a results file. Its columns may stand in any order.

    Raises:
        DataError: If the file is missing or is no results file, if a value is bad, or if a row occurs twice. The error
            names the file and the line.
    """
    rows: list[Row] = []
    lines: dict[tuple[Any, ...], int] = {}
    try:
        # Spreadsheet programs write a byte order mark, which utf-8-sig skips.
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = csv.reader(file, strict=True)
            head = next(table, [])
            _check_columns(head, f"{path}, line 1")
            for cells in table:
                where = f"{path}, line {table.line_num}"
                if not cells:
                    continue
                if len(cells) != len(head):
                    raise DataError(f"{where}: found {len(cells)} cells; expected {len(head)}, as in line 1")
                row = row_from(dict(zip(head, cells, strict=True)), where)
                if row.key in lines:
                    raise DataError(f"{where}: the same result as in line {lines[row.key]}: {_named(row)}; delete one")
                lines[row.key] = table.line_num
                rows.append(row)
    except FileNotFoundError:
        raise DataError(f"there is no {path}; a benchmark writes it") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; expected a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV file in UTF-8: {error}") from None
    return rows


def write_results(path: Path, rows: Iterable[Row]) -> None:
    """Write a results file, whole or not at all. The same rows in another order give the same bytes.

    Rows are sorted by `KEY`. Numbers are written in full, so that reading gives back the same values. None becomes an
    empty cell.

    Raises:
        DataError: If two rows have the same key.
        TrainingError: If the file cannot be written.
    """
    ordered = sorted(rows, key=lambda row: row.key)
    for row, following in itertools.pairwise(ordered):
        if row.key == following.key:
            raise DataError(f"{path}: two results for {_named(row)}; expected one")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(KINDS)
    for row in ordered:
        writer.writerow(_as_text(getattr(row, name), kind) for name, kind in KINDS.items())
    write_text(path, text.getvalue())


def _check_columns(found: list[str], where: str) -> None:
    missing = [name for name in KINDS if name not in found]
    if missing:
        raise DataError(f"{where}: column {', '.join(missing)} is missing; expected {', '.join(KINDS)}")
    other = [name for number, name in enumerate(found) if name not in KINDS or name in found[:number]]
    if other:
        raise DataError(f"{where}: column {', '.join(map(repr, other))} is not known or there twice; take it out")


def _parse(value: Any, kind: str) -> Any:
    """Return a value as the type of its column; raise ValueError if it has another type."""
    if kind == "str":
        if not isinstance(value, str):
            raise ValueError
        return value
    if isinstance(value, bool):
        raise ValueError
    if kind == "int":
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            return int(value)
        if not isinstance(value, int):
            raise ValueError
        return value
    if value is None or value == "":
        return None
    if not isinstance(value, int | float | str):
        raise ValueError
    return float(value)


def _as_text(value: Any, kind: str) -> str:
    if value is None:
        return ""
    # The conversions are needed because the repr of a NumPy number shows its type.
    return str(value) if kind == "str" else str(int(value)) if kind == "int" else repr(float(value))


def _named(row: Row) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(KEY, row.key, strict=True) if value != "")
