"""The progress bar of `backmix predict`, which is shown on standard error if that is a terminal."""

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
    """Images/s and the time left. The mean is taken since the start, because answers come in batches."""

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
    """Show a bar with images/s and the time left; yield a function to call with the number of images done.

    Args:
        console: The console; if it is not a terminal, nothing is shown.
        count: A function that finds the images again, so that a thread can count them; None: the total stays unknown.
        done: The number of images done in earlier sessions.
    """
    if not console.is_terminal:
        yield lambda done: None
        return
    over = threading.Event()
    with progress_bars(console, _Speed(done), transient=True) as bar:
        task = bar.add_task("predicting", total=None, completed=done)

        def count_all(images: Iterator[Found]) -> None:
            number = 0
            for number, _ in enumerate(images, 1):  # noqa: B007  (The last value is used.)
                if over.is_set():
                    return
            bar.update(task, total=number)

        if count is not None:
            threading.Thread(target=count_all, args=(count(),), daemon=True).start()
        try:
            yield lambda done: bar.update(task, completed=done)
        finally:
            over.set()
