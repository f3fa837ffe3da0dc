"""Lists of known and unknown classes, as their authors published them (splits.json)."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any


def split_lists(protocol: str) -> dict[str, Any]:
    """The lists of a protocol.

    Args:
        protocol: its name in splits.json.

    Returns:
        For most, list -> trials, each the numbers of its known classes ({"known", "unknown"} in CIFAR+N); for the
        Semantic Shift Benchmark, "known", "easy", "medium" and "hard" -> classes.

    Raises:
        KeyError: there are none for it.
    """
    lists: dict[str, Any] = _stored()[protocol]
    return lists


def about(name: str) -> str:
    """Where a list comes from, by the key in splits.json."""
    return str(_stored()["about"][name])


def overlap(known: str, unknown: str) -> dict[str, list[str]]:
    """Class of one data set -> classes of another that show the same things or nearly; empty where none do."""
    found: dict[str, list[str]] = _stored()["overlap"].get(known, {}).get(unknown, {})
    return found


@functools.cache
def _stored() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(files("backmix.benchmark").joinpath("splits.json").read_text(encoding="utf-8"))
    return stored
