"""Names, numbers and shares as they stand in a model card, whatever they hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from backmix.pages.words import plain_percent

LONGEST_NAME = 100

_CODE = re.compile(r"[A-Za-z0-9_./:=+-]{1,100}", re.ASCII)


def plain(text: object) -> str:
    """Text as it is, in a Markdown document: no character of it is taken for Markdown, HTML or a link.

    Characters that are not seen, line breaks and marks of writing direction among them, are spelt out.
    """
    shown = str(text)
    if len(shown) > LONGEST_NAME:
        shown = shown[: LONGEST_NAME - 1] + "…"
    return "".join(_seen(character) for character in shown)


def value_in_words(value: Any) -> str:
    """A setting: numbers as they are, names as code, everything else as `plain` text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(key)} {value_in_words(entry)}" for key, entry in value.items())
    if isinstance(value, int | float):
        return f"{value:.3g}" if isinstance(value, float) else str(value)
    return f"`{value}`" if _CODE.fullmatch(str(value)) else plain(value)


def _seen(character: str) -> str:
    if character.isascii() and (character.isalnum() or character in " ,-"):
        return character
    # Zero-width joiners hold letters and emoji together; all else of this kind is there to deceive.
    if unicodedata.category(character)[0] in "CZ" and character not in "\u200c\u200d":
        return f"&#92;u&#123;{ord(character):x}&#125;"
    return f"&#{ord(character)};" if character.isascii() else character


def number(value: Any) -> float | None:
    """A number of a file of figures; None for anything else, and for one that no figure can be."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and -1e15 < value < 1e15
    return float(value) if usable else None


def count(value: Any) -> int:
    """A number of images of a file of figures; 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12 else 0


def percent(share: float) -> str:
    """A share as people write it."""
    return plain_percent(share, padded=False)
