"""The errors a user can meet, so that a command line or a service can catch ours and nothing else."""

from __future__ import annotations

import textwrap


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
