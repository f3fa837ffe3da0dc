"""The view of a running grid: its progress, the running cells, the failed cells and the remaining time."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import TaskID
from rich.table import Table
from rich.text import Text

from backmix.benchmark.grid import Cell
from backmix.pages.progress import progress_bars
from backmix.pages.words import hundredths
from backmix.train.loop import Progress as TrainProgress

SHOWN = 6  # The number of finished and failed cells that stay in sight.


class GridView:
    """A watcher that shows a live view on a terminal, and prints a line for each cell elsewhere. Use it with `with`.

    Args:
        console: The console to print on.
        total: The number of cells of the grid.
        finished: The number of cells that are finished before the grid starts.
        workers: The number of cells that run at the same time.
    """

    def __init__(self, console: Console, total: int, finished: int, workers: int = 1) -> None:
        self.console = console
        self.total, self.finished, self.failed = total, finished, 0
        self.workers = workers
        self._seconds: list[float] = []
        self._began: dict[str, float] = {}
        self._lines: list[Text] = []
        self._bars = progress_bars(console, "{task.fields[state]}")
        self._tasks: dict[str, TaskID] = {}
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=4, transient=True)

    def __enter__(self) -> GridView:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def begin(self, cell: Cell) -> None:
        """Show that a cell starts."""
        self._began[cell.name] = time.monotonic()
        self._tasks[cell.name] = self._bars.add_task(cell.name, total=None, state="starting")

    def step(self, cell: Cell, progress: TrainProgress) -> None:
        """Show that a training step of a cell is done."""
        state = f"epoch {progress.epoch + 1}  loss {progress.loss:.3f}"
        self._bars.update(self._tasks[cell.name], completed=progress.step, total=progress.steps, state=state)

    def end(self, cell: Cell, metrics: dict[str, Any] | None, error: str | None) -> None:
        """Show that a cell has finished or failed."""
        seconds = time.monotonic() - self._began.pop(cell.name, time.monotonic())
        if cell.name in self._tasks:
            self._bars.remove_task(self._tasks.pop(cell.name))
        if metrics is not None:
            self.finished += 1
            self._seconds.append(seconds)
            row = metrics["rows"][0] if metrics["rows"] else {}
            figures = ", ".join(
                f"{name} {hundredths(row[key])}"
                for name, key in (("accuracy", "accuracy"), ("AUROC", "auroc"), ("OSCR", "oscr"))
                if row.get(key) is not None
            )
            line = Text(f"{cell.name}: {figures} ({seconds:.0f} s)")
        else:
            self.failed += 1
            line = Text(f"{cell.name} failed: {error}", style="red")
        self._lines = [*self._lines, line][-SHOWN:]
        if not self.console.is_terminal:
            self.console.print(Text(f"{self.finished + self.failed}/{self.total} ").append_text(line))

    def render(self) -> RenderableType:
        """Return the current view."""
        left = self.total - self.finished - self.failed
        head = f"{self.finished} of {self.total} finished"
        if self.failed:
            head += f", {self.failed} failed"
        if self._seconds and left:
            head += f", about {duration(left * sum(self._seconds) / len(self._seconds) / self.workers)} left"
        lines = Table.grid()
        for line in self._lines:
            lines.add_row(line)
        return Group(Text(head, style="bold"), lines, self._bars)


def duration(seconds: float) -> str:
    """Write a time for people: "40 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
