"""The cells that study.json keeps, so that a study goes on where it was cut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backmix.errors import DataError
from backmix.study.cell import Cell
from backmix.version import __version__

JSON = "study.json"


def read_cells(path: Path, described: dict[str, Any]) -> list[dict[str, Any]]:
    """Read the cells that are done. Without a file the list is empty.

    Raises:
        DataError: If the file holds another study, or if it cannot be read.
    """
    if not path.exists():
        return []
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        found: list[dict[str, Any]] = kept["cells"]
        setting = kept["setting"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        raise DataError(f"{path} is no study that can be gone on with; move it away or give another --out") from None
    differs = [key for key in described if key != "parts" and setting.get(key) != described[key]]
    if differs:
        raise DataError(f"{path} holds a study with another {', '.join(differs).replace('_', ' ')}; give another --out")
    return found


def is_done(cell: Cell, done: list[dict[str, Any]]) -> bool:
    """Return whether a cell was measured, with estimated masks if the cell asks for them."""
    return any(
        all(entry[key] == value for key, value in cell.key().items())
        and (not cell.estimated or "audit_estimated" in entry or entry.get("left_out"))
        for entry in done
    )


def whole(described: dict[str, Any], done: list[dict[str, Any]], cells: list[Cell]) -> dict[str, Any]:
    """Return the content of study.json, including cells that were measured before for other parts."""
    missing = sum(not is_done(cell, done) for cell in cells)
    return {"backmix": __version__, "setting": described, "missing": missing, "cells": done}
