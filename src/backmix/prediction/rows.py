"""How an answer is written: CSV, JSON Lines and JSON, a row at a time."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass

from backmix.prediction.answer import Prediction

COLUMNS = ("path", "label", "unknown_score", "p_value", "top", "error")


@dataclass(frozen=True)
class RowFormat:
    """The bytes of a file of answers.

    Attributes:
        head: before the first row.
        row: of one answer.
        between: between two rows.
        tail: after the last row; the file is valid with it alone.
    """

    head: bytes
    row: Callable[[Prediction], bytes]
    between: bytes
    tail: bytes


def csv_row(answer: Prediction) -> bytes:
    """A line by RFC 4180 in UTF-8, with numbers of six digits and cells that are no formulas.

    `top` is written as `class:probability class:probability ...`.
    """
    top = " ".join(f"{name}:{probability:.4f}" for name, probability in answer.top)
    score = "" if answer.unknown_score is None else f"{answer.unknown_score:.6g}"
    p_value = "" if answer.p_value is None else f"{answer.p_value:.6g}"
    texts = [answer.path, answer.label or "", top, answer.error or ""]
    path, label, top, error = (_quoted(harmless(cell)) for cell in texts)
    return _encoded(f"{path},{label},{score},{p_value},{top},{error}\r\n")


def json_row(answer: Prediction) -> bytes:
    """An object in one line without its end; a score that is no finite number is null."""
    values = asdict(answer)
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            values[key] = None
    return _encoded(json.dumps(values, ensure_ascii=False, allow_nan=False))


def harmless(cell: str) -> str:
    """A cell that spreadsheet programs do not take for a formula: a quote stands before what may begin one.

    Those are = + - @, also in full width, whatever blanks and invisible characters stand before them, and a tab or a
    line break at the start.
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
    """Text for a terminal: what would move the cursor, colour it or turn the direction is spelled out as \\x1b."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _quoted(cell: str) -> str:
    # The semicolon is for spreadsheet programs that take it for the separator.
    if re.search(r'[,;"\s]', cell):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _encoded(text: str) -> bytes:
    # Class names come from a file and may hold half a character, which UTF-8 has no bytes for.
    return text.encode("utf-8", "backslashreplace")


FORMATS = {
    "csv": RowFormat(_encoded(",".join(COLUMNS) + "\r\n"), csv_row, b"", b""),
    "jsonl": RowFormat(b"", lambda answer: json_row(answer) + b"\n", b"", b""),
    "json": RowFormat(b"[", lambda answer: b"\n  " + json_row(answer), b",", b"\n]\n"),
}
