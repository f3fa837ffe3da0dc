"""The check that refuses an option outside its range."""

from __future__ import annotations


def check(fits: bool, message: str) -> None:
    """Raise ValueError with `message` unless `fits` is true."""
    if not fits:
        raise ValueError(message)
