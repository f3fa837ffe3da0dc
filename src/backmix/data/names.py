"""Names of classes: lists of them as a person types them, and names that are spelt otherwise."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from backmix.errors import some_of

_ESCAPED = re.compile(r"\\([\\,\s])")


def split_names(text: str) -> list[str]:
    r"""Return the names that a person typed as a,b,c.

    A comma that belongs to a name has a backslash before it, as in `tench\, Tinca tinca,goldfish`. A backslash may have
    a backslash before it too. Blanks at the start and end of a name are left out, unless they have a backslash before
    them.
    """
    parts = re.findall(r"(?:^|,)((?:\\[\\,\s]|[^,])*)", text)
    return [_ESCAPED.sub(r"\1", re.sub(r"^\s+|(?<!\\)\s+$", "", part)) for part in parts]


def join_names(names: Iterable[str]) -> str:
    """Return the names in one text, as `split_names` reads them."""
    return ",".join(re.sub(r"[\\,]|^\s|\s$", r"\\\g<0>", name) for name in names)


def plain_name(name: str) -> str:
    """Return what stays of a class name for people: case, and blanks, hyphens or underscores make no difference."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name)).strip().casefold()


def match_names(found: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Find the known class that each class of some data stands for.

    A class of the data stands for the known class of the same name. A known class whose name the data does not have is
    matched to the classes whose `plain_name` is the same, as "Cat" or "red_fox" to "cat" and "red fox", unless two
    known classes have this plain name.

    Args:
        found: The names of the classes of the data.
        known: The names of the known classes.

    Returns:
        Class of the data -> known class; classes that stand for none are left out.
    """
    exact = set(found) & set(known)
    plain: dict[str, list[str]] = {}
    for name in known:
        plain.setdefault(plain_name(name), []).append(name)
    matched = {}
    for name in found:
        alike = plain.get(plain_name(name), [])
        if name in exact:
            matched[name] = name
        elif len(alike) == 1 and alike[0] not in exact:
            matched[name] = alike[0]
    return matched


def respelt_in_words(found: Sequence[str], known: Sequence[str]) -> str | None:
    """Return a sentence on the classes that are spelt otherwise than the known classes; None if there are none."""
    pairs = [f"{name!r} as {of!r}" for name, of in match_names(found, known).items() if name != of]
    if not pairs:
        return None
    return f"spelt otherwise than the known classes, and taken for them: {some_of(pairs, 5)}"
