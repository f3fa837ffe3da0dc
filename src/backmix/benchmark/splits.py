"""The lists of known and unknown classes, as their authors published them (splits.json)."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any


def split_lists(protocol: str) -> dict[str, Any]:
    """Return the lists of a protocol.

    Args:
        protocol: The name of the protocol in splits.json.

    Returns:
        For most protocols list -> trials, where a trial is the numbers of its known classes ({"known", "unknown"} in
        CIFAR+N). For the Semantic Shift Benchmark "known", "easy", "medium" and "hard" -> classes.

    Raises:
        KeyError: If splits.json has no lists for the protocol.
    """
    lists: dict[str, Any] = _stored()[protocol]
    return lists


def about(name: str) -> str:
    """Return the origin of a list in words, by the key in splits.json."""
    return str(_stored()["about"][name])


def overlap(known: str, unknown: str) -> dict[str, list[str]]:
    """Return class of one data set -> classes of another that show the same or nearly the same things.

    The dictionary is empty if no classes overlap.
    """
    found: dict[str, list[str]] = _stored()["overlap"].get(known, {}).get(unknown, {})
    return found


@functools.cache
def _stored() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(files("backmix.benchmark").joinpath("splits.json").read_text(encoding="utf-8"))
    return stored
