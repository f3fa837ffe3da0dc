"""Answers as a Parquet file, which is made from JSON Lines one group of rows at a time."""

from __future__ import annotations

import json
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

from backmix.errors import BackmixError
from backmix.files import write_atomically
from backmix.prediction.answer import Prediction

ROWS = 8192
"""The number of rows in a group. One group is in memory at a time."""


def need_pyarrow() -> None:
    """Raise BackmixError, which says what to install, if Parquet cannot be written."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise BackmixError('Parquet needs pyarrow: pip install "backmix[data]". Or write .csv or .jsonl') from None


def write_parquet(lines: Path, out: Path) -> None:
    """Write rows of `backmix.prediction.rows.json_row` as a Parquet file.

    The columns are the fields of `Prediction`; `top` is a list of {class, probability}.

    Args:
        lines: The file of JSON Lines, with one row a line.
        out: The Parquet file. It is made or replaced as a whole; if that fails, an old file stays as it was.

    Raises:
        TrainingError: If the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    top = pa.list_(pa.struct([("class", pa.string()), ("probability", pa.float64())]))
    text, number = pa.string(), pa.float64()
    kinds = {"str": text, "str | None": text, "float | None": number, "list[tuple[str, float]]": top}
    schema = pa.schema([(field.name, kinds[str(field.type)]) for field in fields(Prediction)])

    def write(temporary: Path) -> None:
        with open(lines, "rb") as file, pq.ParquetWriter(temporary, schema) as writer:
            while group := list(islice(file, ROWS)):
                writer.write_table(pa.Table.from_pylist([_row(line) for line in group], schema))

    write_atomically(out, write)


def _row(line: bytes) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(line)
    row["top"] = [{"class": _text(name), "probability": probability} for name, probability in row["top"]]
    row["label"] = row["label"] and _text(row["label"])
    return row


def _text(name: str) -> str:
    """Return the name with lone surrogates, which UTF-8 cannot encode, written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
