"""Answers for the eyes, and for the next program: a table in the terminal, rows on standard output."""

from __future__ import annotations

from collections import Counter
from typing import BinaryIO

from rich.console import Console
from rich.table import Table

from backmix.predict.file import kind_of
from backmix.predict.paths import Found
from backmix.prediction.answer import Prediction
from backmix.prediction.rows import FORMATS, printable

SHOWN = 300
"""Rows of the table: nobody reads more of them in a terminal."""


class AnswerTable:
    """The first answers as a table, printed when closed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._table = Table()
        for head in ("path", "label", "unknown score", "p-value", "likeliest classes"):
            self._table.add_column(head, overflow="fold")  # A path that is cut off is no path.
        self.counts: Counter[str] = Counter()

    def add(self, found: Found, answer: Prediction) -> None:
        """Count it, and keep the first ones."""
        self.counts[kind_of(answer)] += 1
        if self._table.row_count < SHOWN:
            self._table.add_row(*map(printable, _cells(answer)))

    def close(self, *, complete: bool) -> None:
        """Print the table."""
        self._console.print(self._table)
        left = self.counts.total() - self._table.row_count
        if left:
            self._console.print(f"... and {left} more; --out answers.csv writes all of them")


class AnswerStream:
    """Rows in a stream, as they come.

    Args:
        stream: of bytes.
        kind: "csv", "jsonl" or "json".
    """

    def __init__(self, stream: BinaryIO, kind: str) -> None:
        self._stream = stream
        self._format = FORMATS[kind]
        self.counts: Counter[str] = Counter()
        stream.write(self._format.head)

    def add(self, found: Found, answer: Prediction) -> None:
        """Write a row."""
        self._stream.write((self._format.between if self.counts else b"") + self._format.row(answer))
        self.counts[kind_of(answer)] += 1

    def close(self, *, complete: bool) -> None:
        """Write what makes it valid."""
        self._stream.write(self._format.tail)
        self._stream.flush()


def _cells(answer: Prediction) -> list[str]:
    if answer.error is not None:
        return [answer.path, "-", "", "", answer.error]
    top = ", ".join(f"{name} {probability:.2f}" for name, probability in answer.top)
    p_value = "" if answer.p_value is None else f"{answer.p_value:.3f}"
    return [answer.path, answer.label or "", f"{answer.unknown_score:.3f}", p_value, top]
