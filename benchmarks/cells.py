"""Run a grid of trainings and keep the results in one JSON file. A cell that is in the file is not run again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from backmix.files import write_json
from backmix.train.recipe import with_defaults


def run_cells(
    path: Path,
    setting: dict[str, Any],
    cells: Iterable[dict[str, Any]],
    run: Callable[[dict[str, Any]], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Run the cells that are missing, and write the file after every cell.

    Args:
        path: The JSON file {"setting": ..., "cells": [...]}, which is made if it is missing.
        setting: The settings that all cells share; a file that was made with other settings is refused.
        cells: The keys and values that identify each cell.
        run: A function that takes a cell and returns its figures. They are written with the cell and its seconds.

    Returns:
        All cells in the file, with their figures.
    """
    console = Console()
    done: list[dict[str, Any]] = []
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(setting))
        # An option that did not exist when the file was made had the value that is its default now.
        known = {
            key: value for key, value in with_defaults(kept["setting"]["training"]).items() if key in now["training"]
        }
        if kept["setting"] | {"training": known} != now:
            raise SystemExit(f"{path} was made with another setting; move it away or give another --json")
        done = kept["cells"]
    cells = list(cells)
    for number, cell in enumerate(cells, 1):
        if any(all(entry.get(key) == value for key, value in cell.items()) for entry in done):
            continue
        begin = time.monotonic()
        figures = run(cell)
        seconds = round(time.monotonic() - begin, 1)
        done.append({**cell, **figures, "seconds": figures.get("seconds", seconds)})
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"setting": setting, "cells": done})
        name = ", ".join(f"{key} {value}" for key, value in cell.items())
        shown = ", ".join(f"{key} {value:.4f}" for key, value in figures.items() if isinstance(value, float))
        console.print(f"{number}/{len(cells)} {name}: {shown} ({seconds:.0f} s)")
    return done
