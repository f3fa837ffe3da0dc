"""A figure that stands out on a page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A figure that stands out: name, value, and what it says."""

    name: str
    value: str
    detail: str
