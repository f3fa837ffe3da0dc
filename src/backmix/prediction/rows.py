"""Write answers as CSV, JSON Lines or JSON, one row at a time."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields

from backmix.prediction.answer import Prediction

COLUMNS = tuple(field.name for field in fields(Prediction))


@dataclass(frozen=True)
class RowFormat:
    """The format of a file of answers.

    Attributes:
        head: The bytes before the first row.
        row: A function that returns the bytes of one answer.
        between: The bytes between two rows.
        tail: The bytes after the last row. The file is valid only with them.
    """

    head: bytes
    row: Callable[[Prediction], bytes]
    between: bytes
    tail: bytes


def csv_row(answer: Prediction) -> bytes:
    """Return an answer as a CSV line (RFC 4180, UTF-8).

    Numbers have six significant digits. No cell is a formula for a spreadsheet program, see `harmless`. `top` is
    written as `class:probability class:probability ...`.
    """
    return _encoded(",".join(_cell(getattr(answer, name)) for name in COLUMNS) + "\r\n")


def _cell(value: str | float | list[tuple[str, float]] | None) -> str:
    if isinstance(value, float | int):
        return f"{value:.6g}"
    if isinstance(value, list):
        value = " ".join(f"{name}:{probability:.4f}" for name, probability in value)
    return _quoted(harmless(value or ""))


def json_row(answer: Prediction) -> bytes:
    """Return an answer as a JSON object in one line, without a line break. A number that is not finite becomes null."""
    values = asdict(answer)
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            values[key] = None
    return _encoded(json.dumps(values, ensure_ascii=False, allow_nan=False))


def harmless(cell: str) -> str:
    """Return a cell that spreadsheet programs do not read as a formula.

    A quote is put before a cell that begins with a tab or a line break, or whose first visible character is one of
    = + - @, also in full width. Blanks and invisible characters before that character do not matter.
    """
    if cell[:1] in ("\t", "\r", "\n"):
        return "'" + cell
    for sign in cell:
        if sign in "=+-@＝＋－＠":  # noqa: RUF001  (The full-width signs are meant.)
            return "'" + cell
        if not sign.isspace() and unicodedata.category(sign) not in ("Cf", "Cc"):
            break
    return cell


def printable(text: str) -> str:
    """Return text that is safe for a terminal: control and other unprintable characters become escapes as \\x1b."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _quoted(cell: str) -> str:
    # Some spreadsheet programs take the semicolon for the separator.
    if re.search(r'[,;"\s]', cell):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _encoded(text: str) -> bytes:
    # Class names come from a file and may hold half a surrogate pair, which UTF-8 cannot encode.
    return text.encode("utf-8", "backslashreplace")


FORMATS = {
    "csv": RowFormat(_encoded(",".join(COLUMNS) + "\r\n"), csv_row, b"", b""),
    "jsonl": RowFormat(b"", lambda answer: json_row(answer) + b"\n", b"", b""),
    "json": RowFormat(b"[", lambda answer: b"\n  " + json_row(answer), b",", b"\n]\n"),
}
