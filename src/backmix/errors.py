"""The errors a user can meet, so that a command line or a service can catch ours and nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence


class BackmixError(Exception):
    """Base of every error raised on purpose by this package."""


class DataError(BackmixError, ValueError):
    """The images, labels or classes given cannot be used as asked."""


class RunError(BackmixError):
    """A run folder is missing something, was altered, or belongs to another version."""


class TrainingError(BackmixError):
    """A training cannot go on: a loss that is not finite, changed options on resume, a full disk."""


def in_one_line(error: BaseException) -> str:
    """What another package says, to be quoted in an error of ours: without line breaks, cut off where it goes on."""
    return textwrap.shorten(str(error) or type(error).__name__, 400, placeholder=" ...")


def some_of(names: Sequence[str], most: int = 10, *, quoted: bool = False) -> str:
    """The first few names in a line, and how many more there are: "a, b and 7 more".

    Args:
        names: of classes, files or the like; of none the line is empty.
        most: names shown.
        quoted: whether they stand in quotes, with what cannot be seen spelled out.
    """
    shown = ", ".join(repr(name) if quoted else name for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
