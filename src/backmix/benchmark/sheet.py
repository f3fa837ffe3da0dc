"""A table of texts with its title and its notes, printed to a terminal or as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

_NAME = 10
"""The number of letters of a name that stay in one piece, however narrow the terminal is."""


@dataclass(frozen=True)
class Sheet:
    """A table of texts.

    Attributes:
        title: The title of the table.
        head: The names of the columns.
        lines: The cells of each line. Every line has as many cells as there are columns.
        left: The numbers of the columns that hold words and are aligned left. The others are aligned right.
        notes: The sentences that belong under the table.
    """

    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    left: frozenset[int]
    notes: tuple[str, ...] = ()


def to_rich(sheet: Sheet) -> Group:
    """Return the table and its notes for a `rich` console. Text that looks like `rich` markup is printed as it is."""
    table = Table(
        title=Text(sheet.title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for number, name in enumerate(sheet.head):
        words = number in sheet.left
        cells = [line[number] for line in sheet.lines]
        # On a narrow terminal, heads break between words, and long names break anywhere. Numbers must not break.
        needed = [min(_NAME, len(cell)) if words else len(cell) for cell in cells]
        least = max(*map(len, name.split()), *needed, 1)
        table.add_column(Text(name), justify="left" if words else "right", min_width=least, overflow="fold")
    for line in sheet.lines:
        table.add_row(*map(Text, line))
    return Group(table, *map(Text, sheet.notes))


def to_markdown(sheet: Sheet) -> str:
    """Return the title, the table and the notes as GitHub's Markdown, which ends with a line break."""
    rule = ("---" if number in sheet.left else "---:" for number in range(len(sheet.head)))
    rows = [_row(map(escape, sheet.head)), _row(rule), *(_row(map(escape, line)) for line in sheet.lines)]
    parts = [f"**{escape(sheet.title)}**", "\n".join(rows)]
    if sheet.notes:
        parts.append("\n".join(f"- {escape(note)}" for note in sheet.notes))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Escape a text so that Markdown shows it as it is, also in a cell of a table."""
    text = re.sub(r"([\\|*`\[\]])", r"\\\1", " ".join(text.split()))
    # Underscores inside words, as in max_logit, have no meaning in Markdown.
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
