"""Lists of class names in one text, as a person types them."""

from __future__ import annotations

import re
from collections.abc import Iterable

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
