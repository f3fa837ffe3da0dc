"""Names of the classes of the named data sets in their canonical order, and which of them a copy's names stand for.

Copies of one data set number its classes differently, so a class is known by its name alone; and they spell names
differently ("001.Black_footed_Albatross", "black footed albatross"), so only letters and digits of a name count.
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
    """Classes of a data set in canonical order.

    Args:
        data: its name in class_names.json.

    Raises:
        KeyError: there are no names for it.
    """
    return tuple(_stored()["names"][data])


def words(data: str) -> dict[str, str]:
    """Class -> what it is in words, for a data set whose names are wnids; empty for others."""
    found = _stored()["words"].get(data)
    return {} if found is None else dict(zip(canonical_names(data), found, strict=True))


def match_names(found: Sequence[str], data: str, canonical: Sequence[str]) -> list[int | None]:
    """Which class each name in a copy stands for.

    A name that is spelt otherwise is understood where only case, punctuation or a number in front differ, where it is
    a spelling known from public copies, and where words stand for a wnid. If the copy only numbers its classes, 0 to
    K - 1 for all K of them, the numbers are the canonical ones.

    Args:
        found: names as they stand in the copy.
        data: name of the data set.
        canonical: its classes in canonical order.

    Returns:
        For each name found the position in `canonical`, or None where it is no class of the data set.
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
    """Letters of ImageNet's words for a wnid -> place: all of them, and the first one where no other class has it."""
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
