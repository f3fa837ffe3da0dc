"""The console and the progress bars that commands print with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import TimeRemainingColumn

from backmix.pages.progress import progress_bars

if TYPE_CHECKING:  # Commands that do not train start without importing torch.
    from accelerate import Accelerator

    from backmix.train.loop import EpochReport
    from backmix.train.loop import Progress as TrainProgress


def make_console() -> Console:
    """Return a console that prints names as they are, with lines of 200 characters if it is not a terminal."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = 200
    return console


def say_left_out(console: Console, *sources: object) -> None:
    """Print which files of folders of images are passed over, and why."""
    from backmix.data.folder import source_notes

    for note in dict.fromkeys(note for source in sources for note in source_notes(source)):
        console.print(note, style="yellow")


@contextmanager
def training_bar(console: Console, chief: bool, accelerator: Accelerator) -> Iterator[tuple[Any, Any]]:
    """Show a progress bar with loss, accuracy and time left, or print a line an epoch if there is no terminal.

    Yields:
        A function to call after each step, and a function to call after each epoch.
    """
    from backmix.train.training_log import log_values, quiet_writer

    columns = "loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.3f}"
    bar = progress_bars(console, columns, TimeRemainingColumn(), show=chief)
    task = bar.add_task("epoch 1", total=None, loss=float("nan"), accuracy=float("nan"))
    smooth: list[float] = []

    def on_step(progress: TrainProgress) -> None:
        now = [progress.loss, progress.accuracy]
        smooth[:] = [0.95 * old + 0.05 * new for old, new in zip(smooth or now, now, strict=True)]
        bar.update(
            task,
            completed=progress.step,
            total=progress.steps,
            description=f"epoch {progress.epoch + 1}",
            loss=smooth[0],
            accuracy=smooth[1],
        )

    def on_epoch(report: EpochReport) -> None:
        values = {"loss": report.loss, "accuracy": report.accuracy, "lr": report.lr}
        mixed = ""
        if report.mixed is not None:
            values["mixed"] = report.mixed
            mixed = f", {report.mixed:.0%} of the images mixed"
        log_values(accelerator, values, report.epoch + 1, partial(console.print, style="yellow"))
        if chief and not console.is_terminal:
            console.print(f"epoch {report.epoch + 1}: loss {report.loss:.3f}, accuracy {report.accuracy:.3f}{mixed}")

    with bar, quiet_writer():
        yield on_step, on_epoch


@contextmanager
def image_bar(console: Console, total: int, what: str) -> Iterator[Any]:
    """Show a progress bar over images; yield a function to call with the number of images done."""
    with progress_bars(console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
