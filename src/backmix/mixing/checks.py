"""What is done about an option outside its range."""

from __future__ import annotations


def check(fits: bool, message: str) -> None:
    """Raise ValueError with the message unless an option fits."""
    if not fits:
        raise ValueError(message)
