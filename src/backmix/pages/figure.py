"""Define a main figure of a page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A main figure of a page: its name, its value, and its meaning."""

    name: str
    value: str
    detail: str
