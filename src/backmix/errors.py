"""The errors that this package raises on purpose, so that a program can catch them and no others."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence


class BackmixError(Exception):
    """The base class of every error that this package raises on purpose."""


class DataError(BackmixError, ValueError):
    """The given images, labels or classes cannot be used for the task."""


class RunError(BackmixError):
    """A run folder is incomplete, was altered, or belongs to another version."""


class TrainingError(BackmixError):
    """A training cannot go on, for example after a loss that is not finite, changed options or a full disk."""


def in_one_line(error: BaseException) -> str:
    """Return the message of an error of another package in one line, shortened to at most 400 characters."""
    return textwrap.shorten(str(error) or type(error).__name__, 400, placeholder=" ...")


def some_of(names: Sequence[str], most: int = 10, *, quoted: bool = False) -> str:
    """Return the first few names in one line, and the number of the other names: "a, b and 7 more".

    Args:
        names: The names of classes or files. If there are none, the line is empty.
        most: The largest number of names to show.
        quoted: Whether the names stand in quotes, with invisible characters written as escapes.
    """
    shown = ", ".join(repr(name) if quoted else name for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
