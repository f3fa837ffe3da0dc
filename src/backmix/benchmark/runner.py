"""Run a grid on this machine, cell by cell, and keep its results file up to date."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from filelock import lock_descriptor

from backmix.benchmark.cell import METRICS, finished, run_cell
from backmix.benchmark.environment import code_fingerprint
from backmix.benchmark.grid import Cell
from backmix.benchmark.grid_options import GridOptions
from backmix.benchmark.results import Row, row_from, write_results
from backmix.errors import BackmixError, RunError, in_one_line
from backmix.files import write_text
from backmix.train.loop import Progress

CELLS, RESULTS, ERROR = "cells", "results.csv", "error.txt"


class Watcher(Protocol):
    """Who is told how a grid goes on."""

    def begin(self, cell: Cell) -> None:
        """A cell starts, or goes on."""

    def step(self, cell: Cell, progress: Progress) -> None:
        """A training step of it is done."""

    def end(self, cell: Cell, metrics: dict[str, Any] | None, error: str | None) -> None:
        """It is finished, with its metrics, or failed, with the error in one line."""


class Silent:
    """Tells nobody."""

    def begin(self, cell: Cell) -> None:
        """See `Watcher`."""

    def step(self, cell: Cell, progress: Progress) -> None:
        """See `Watcher`."""

    def end(self, cell: Cell, metrics: dict[str, Any] | None, error: str | None) -> None:
        """See `Watcher`."""


@dataclass
class GridReport:
    """What a grid came to: rows of all finished cells, errors by name of the cell, cells that had been finished."""

    rows: list[Row]
    failed: dict[str, str] = field(default_factory=dict)
    before: int = 0


def cell_folder(out: Path, cell: Cell) -> Path:
    """Where a cell of the grid in `out` lies."""
    return out / CELLS / cell.name


def run_grid(
    cells: Sequence[Cell],
    out: Path,
    options: GridOptions,
    *,
    watcher: Watcher | None = None,
    run: Callable[..., dict[str, Any]] = run_cell,
) -> GridReport:
    """Run what is missing of a grid.

    Finished cells are left alone, interrupted ones go on from their last epoch, failed ones are tried again. A cell
    that fails does not stop the rest; its error lies beside it. results.csv is written after every cell, from all cells
    that the folder holds.

    Args:
        cells: of the grid.
        out: its folder, made if missing.
        options: what the cells share.
        watcher: who is told.
        run: what runs one cell; see `backmix.benchmark.cell.run_cell`.

    Raises:
        RunError: when another process works on the same folder, or a finished cell was made with other settings.
    """
    watcher = watcher or Silent()
    code_fingerprint()  # Now: files that are edited while the grid runs are not what it runs.
    with locked(out):
        done = {cell.name: finished(cell_folder(out, cell)) for cell in cells}
        report = GridReport([], before=sum(metrics is not None for metrics in done.values()))
        for cell in cells:
            folder = cell_folder(out, cell)
            begin = time.monotonic()
            if done[cell.name] is None:
                watcher.begin(cell)
            try:
                metrics = run(cell, folder, options, on_step=lambda progress, cell=cell: watcher.step(cell, progress))
            except RunError as error:
                if done[cell.name] is not None:
                    raise  # Its figures would stand in the table beside those of other settings.
                report.failed[cell.name] = keep_error(folder, error)
                watcher.end(cell, None, report.failed[cell.name])
            except Exception as error:
                report.failed[cell.name] = keep_error(folder, error)
                watcher.end(cell, None, report.failed[cell.name])
            else:
                (folder / ERROR).unlink(missing_ok=True)
                if done[cell.name] is None:
                    watcher.end(cell, {**metrics, "wall": time.monotonic() - begin}, None)
                    collect_results(out)
        report.rows = collect_results(out)
    return report


def collect_results(out: Path) -> list[Row]:
    """Write results.csv from all finished cells in a folder, and return its rows.

    Raises:
        RunError, DataError: for a cell whose metrics.json is damaged.
    """
    rows: list[Row] = []
    for path in sorted((out / CELLS).glob(f"*/{METRICS}")):
        metrics = finished(path.parent)
        rows += [row_from(entry, str(path)) for entry in metrics["rows"]] if metrics is not None else []
    write_results(out / RESULTS, rows)
    return rows


def keep_error(folder: Path, error: BaseException) -> str:
    """Write the traceback beside the cell; return what happened in one line."""
    write_text(folder / ERROR, "".join(traceback.format_exception(error)))
    # Our own errors end with what to do; those of other packages may go on for pages.
    text = " ".join(str(error).split()) if isinstance(error, BackmixError) else in_one_line(error)
    return f"{type(error).__name__}: {text}"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder of a grid, so that no second process works on it.

    Raises:
        RunError: when another one does.
    """
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "w") as file:
        # The system lets go of it when the process dies, however it dies.
        if not lock_descriptor(file.fileno(), blocking=False):
            raise RunError(f"another process works on {out}. Wait for it, or choose another --out.")
        yield
