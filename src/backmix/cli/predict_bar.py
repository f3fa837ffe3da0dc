"""The progress of `backmix predict`, on standard error, where there is a terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import ProgressColumn, Task
from rich.text import Text

from backmix.pages.progress import progress_bars
from backmix.predict.paths import Found


class _Speed(ProgressColumn):
    """Images/s and the time left, from the mean since the start: answers come in batches, so a shorter one jumps."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self._before = before

    def render(self, task: Task) -> Text:
        done = task.completed - self._before
        if not done or not task.elapsed:
            return Text("")
        speed = f"{done / task.elapsed:.0f} images/s"
        if task.total is None:
            return Text(speed)
        left = timedelta(seconds=round((task.total - task.completed) * task.elapsed / done))
        return Text(f"{speed}, {max(left, timedelta())} left")


@contextmanager
def answering_bar(
    console: Console, count: Callable[[], Iterator[Found]] | None, done: int = 0
) -> Iterator[Callable[[int], None]]:
    """A bar with images/s and the time left; yields a function to call with the number of images done.

    Args:
        console: nothing is shown where it is no terminal.
        count: finds the images once more, so that a thread can count them meanwhile; None: their number stays open.
        done: images that were done before.
    """
    if not console.is_terminal:
        yield lambda done: None
        return
    over = threading.Event()
    with progress_bars(console, _Speed(done), transient=True) as bar:
        task = bar.add_task("predicting", total=None, completed=done)

        def count_all(images: Iterator[Found]) -> None:
            number = 0
            for number, _ in enumerate(images, 1):  # noqa: B007  (Its last value counts.)
                if over.is_set():
                    return
            bar.update(task, total=number)

        if count is not None:
            threading.Thread(target=count_all, args=(count(),), daemon=True).start()
        try:
            yield lambda done: bar.update(task, completed=done)
        finally:
            over.set()
