"""Run a grid on this machine, cell by cell, and keep the results file of the grid up to date."""

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
from backmix.files import could_not_write, make_folder, write_text
from backmix.train.loop import Progress

CELLS, RESULTS, ERROR = "cells", "results.csv", "error.txt"


class Watcher(Protocol):
    """An object that is notified of the progress of a grid."""

    def begin(self, cell: Cell) -> None:
        """Take note that a cell starts or is resumed."""

    def step(self, cell: Cell, progress: Progress) -> None:
        """Take note that a training step of a cell is done."""

    def end(self, cell: Cell, metrics: dict[str, Any] | None, error: str | None) -> None:
        """Take note that a cell has finished, with its metrics, or has failed, with the error in one line."""


class Silent:
    """A watcher that ignores all notifications."""

    def begin(self, cell: Cell) -> None:
        """See `Watcher`."""

    def step(self, cell: Cell, progress: Progress) -> None:
        """See `Watcher`."""

    def end(self, cell: Cell, metrics: dict[str, Any] | None, error: str | None) -> None:
        """See `Watcher`."""


@dataclass
class GridReport:
    """The result of a grid.

    Attributes:
        rows: The rows of all finished cells.
        failed: The error of each failed cell, by the name of the cell.
        before: The number of cells that had been finished before.
    """

    rows: list[Row]
    failed: dict[str, str] = field(default_factory=dict)
    before: int = 0


def cell_folder(out: Path, cell: Cell) -> Path:
    """Return the folder of a cell of the grid in `out`."""
    return out / CELLS / cell.name


def run_grid(
    cells: Sequence[Cell],
    out: Path,
    options: GridOptions,
    *,
    watcher: Watcher | None = None,
    run: Callable[..., dict[str, Any]] = run_cell,
) -> GridReport:
    """Run the unfinished cells of a grid.

    Finished cells are left alone, interrupted cells go on from their last epoch, and failed cells are tried again. A
    cell that fails does not stop the rest, and its error is written into its folder. results.csv is written after every
    cell, from all cells in the folder.

    Args:
        cells: The cells of the grid.
        out: The folder of the grid. It is created if it is missing.
        options: The options that all cells share.
        watcher: The object that is notified of the progress.
        run: The function that runs one cell; see `backmix.benchmark.cell.run_cell`.

    Raises:
        RunError: If another process works on the same folder, or if a finished cell was made with other settings.
    """
    watcher = watcher or Silent()
    code_fingerprint()  # It is taken now, because files that are edited while the grid runs are not the code it runs.
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
                    raise  # Otherwise the table would mix its figures with those of other settings.
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
        RunError, DataError: If the metrics.json of a cell is damaged.
    """
    rows: list[Row] = []
    for path in sorted((out / CELLS).glob(f"*/{METRICS}")):
        metrics = finished(path.parent)
        rows += [row_from(entry, str(path)) for entry in metrics["rows"]] if metrics is not None else []
    write_results(out / RESULTS, rows)
    return rows


def keep_error(folder: Path, error: BaseException) -> str:
    """Write the traceback of a failed cell into its folder, and return the error in one line."""
    write_text(folder / ERROR, "".join(traceback.format_exception(error)))
    # Our own errors end with advice, so they are kept whole. Errors of other packages may fill pages.
    text = " ".join(str(error).split()) if isinstance(error, BackmixError) else in_one_line(error)
    return f"{type(error).__name__}: {text}"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Lock the folder of a grid, so that no second process works on it.

    Raises:
        RunError: If another process has locked it.
        TrainingError: If the folder cannot be written.
    """
    make_folder(out)
    try:
        lock = open(out / ".lock", "w")  # noqa: SIM115  (It is closed below.)
    except OSError as error:
        raise could_not_write(out, error) from error
    with lock as file:
        # The system releases the lock when the process dies, however it dies.
        if not lock_descriptor(file.fileno(), blocking=False):
            raise RunError(f"another process works on {out}. Wait for it, or choose another --out.")
        yield
