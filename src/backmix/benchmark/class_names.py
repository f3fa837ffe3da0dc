"""The class names of the named data sets in canonical order, and the way to match the names in a copy with them.

Copies of one data set number its classes differently, so a class is recognised by its name alone. Copies also spell
names differently ("001.Black_footed_Albatross", "black footed albatross"), so only letters and digits of a name count.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

_WNID = re.compile(r"n\d{8}")


def canonical_names(data: str) -> tuple[str, ...]:
    """Return the classes of a data set in canonical order.

    Args:
        data: The name of the data set in class_names.json.

    Raises:
        KeyError: If class_names.json has no names for the data set.
    """
    return tuple(_stored()["names"][data])


def words(data: str) -> dict[str, str]:
    """Return class -> its meaning in words for a data set whose class names are wnids; empty for other data sets."""
    found = _stored()["words"].get(data)
    return {} if found is None else dict(zip(canonical_names(data), found, strict=True))


def match_names(found: Sequence[str], data: str, canonical: Sequence[str]) -> list[int | None]:
    """Find the class that each name in a copy stands for.

    A different spelling is understood if it differs only in case, in punctuation or by a number in front, if it is
    known from public copies, or if it gives words instead of a wnid. If the copy only numbers all its K classes from 0
    to K - 1, these numbers are taken as the canonical ones.

    Args:
        found: The class names in the copy.
        data: The name of the data set.
        canonical: The classes of the data set in canonical order.

    Returns:
        For each name in `found` its position in `canonical`; None if it is no class of the data set.
    """
    places = {_letters(name): place for place, name in enumerate(canonical)}
    others = {_letters(name): places[_letters(of)] for name, of in _stored()["other_names"].get(data, {}).items()}
    keys = [_letters(name) for name in found]
    if not set(keys) & places.keys() and list(found) == [str(n) for n in range(len(canonical))]:
        return list(range(len(canonical)))
    spellings = {**others, **places}
    matched = [
        spellings.get(key, spellings.get(_letters(_without_number(name))))
        for key, name in zip(keys, found, strict=True)
    ]
    if None in matched and _WNID.fullmatch(canonical[0]):
        spoken = _in_words(tuple(canonical))
        matched = [spoken.get(key) if place is None else place for key, place in zip(keys, matched, strict=True)]
    return matched


@functools.cache
def _stored() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(
        files("backmix.benchmark").joinpath("class_names.json").read_text(encoding="utf-8")
    )
    return stored


@functools.cache
def _in_words(canonical: tuple[str, ...]) -> dict[str, int]:
    """Return the letters of ImageNet's words for a wnid -> the place of the class.

    The keys are all words of a class together, and its first word if no other class has the same first word.
    """
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    described = dict(zip(info.label_names(), info.label_descriptions(), strict=True))
    spoken: dict[str, int] = {}
    for shorten in (str, lambda text: text.partition(",")[0]):
        found: dict[str, set[int]] = {}
        for place, wnid in enumerate(canonical):
            if wnid in described:
                found.setdefault(_letters(shorten(described[wnid])), set()).add(place)
        for text, places in found.items():
            if len(places) == 1:
                spoken.setdefault(text, places.pop())
    return spoken


def _letters(name: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKC", name).casefold() if letter.isalnum())


def _without_number(name: str) -> str:
    return re.sub(r"^\d{3,4}[._ ]", "", name)
