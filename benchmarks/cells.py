"""A grid of trainings kept in one JSON file: a cell that is there is not run again."""

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
    """Run what is missing, writing the file after every cell.

    Args:
        path: {"setting": ..., "cells": [...]}, made if missing.
        setting: what all cells share; a file made with another one is refused.
        cells: what tells a cell from others.
        run: cell -> its figures, which are written beside it, with the seconds it took.
    """
    console = Console()
    done: list[dict[str, Any]] = []
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(setting))
        # Options that did not exist when the file was made stood at what is their default since.
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
