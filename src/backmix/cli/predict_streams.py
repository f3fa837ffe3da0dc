"""Answers that are not written into a file: a table in the terminal, or rows on standard output."""

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
"""The number of rows that the table shows. Nobody reads more rows in a terminal."""


class AnswerTable:
    """A table of the first answers, which is printed when it is closed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._table = Table()
        for head in ("path", "label", "unknown score", "p-value", "likeliest classes"):
            self._table.add_column(head, overflow="fold")  # A path that is cut off is of no use.
        self.counts: Counter[str] = Counter()

    def add(self, found: Found, answer: Prediction) -> None:
        """Count the answer, and add a row if it is among the first answers."""
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
    """A stream of rows, each of which is written as its answer comes.

    Args:
        stream: The stream of bytes to write to.
        kind: The format: "csv", "jsonl" or "json".
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
        """Write the end of the format, which makes the output valid."""
        self._stream.write(self._format.tail)
        self._stream.flush()


def _cells(answer: Prediction) -> list[str]:
    if answer.error is not None:
        return [answer.path, "-", "", "", answer.error]
    top = ", ".join(f"{name} {probability:.2f}" for name, probability in answer.top)
    p_value = "" if answer.p_value is None else f"{answer.p_value:.3f}"
    return [answer.path, answer.label or "", f"{answer.unknown_score:.3f}", p_value, top]
