"""Safe ways to write names, numbers and shares of any content into a model card."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from backmix.pages.words import plain_percent

LONGEST_NAME = 100

_CODE = re.compile(r"[A-Za-z0-9_./:=+-]{1,100}", re.ASCII)


def plain(text: object, longest: int = LONGEST_NAME) -> str:
    """Escape a text so that a Markdown document shows it as it is, and nothing in it acts as Markdown, HTML or a link.

    Invisible characters, such as line breaks and marks of writing direction, are spelt out. A text that is longer than
    `longest` is shortened.
    """
    shown = str(text)
    if len(shown) > longest:
        shown = shown[: longest - 1] + "…"
    return "".join(_seen(character) for character in shown)


def value_in_words(value: Any) -> str:
    """Write the value of a setting: numbers as they are, names as code, everything else as `plain` text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(key)} {value_in_words(entry)}" for key, entry in value.items())
    if isinstance(value, int | float):
        return f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"`{value}`" if _CODE.fullmatch(str(value)) else plain(value)


def _seen(character: str) -> str:
    if character.isascii() and (character.isalnum() or character in " ,-"):
        return character
    # Zero-width joiners hold letters and emoji together. All other invisible characters could deceive a reader.
    if unicodedata.category(character)[0] in "CZ" and character not in "\u200c\u200d":
        return f"&#92;u&#123;{ord(character):x}&#125;"
    return f"&#{ord(character)};" if character.isascii() else character


def number(value: Any) -> float | None:
    """Return a number from a file of figures; None for anything else, and for a number too large for a figure."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and -1e15 < value < 1e15
    return float(value) if usable else None


def count(value: Any) -> int:
    """Return a number of images from a file of figures; 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12 else 0


def percent(share: float) -> str:
    """Write a share in percent, as people write it."""
    return plain_percent(share, padded=False)
