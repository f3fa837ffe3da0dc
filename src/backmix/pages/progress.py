"""Progress bars on a terminal, all of one form: what is done, a bar, how many of how many, and what else is told."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def progress_bars(
    console: Console, *more: str | ProgressColumn, show: bool = True, transient: bool = False
) -> Progress:
    """Bars for tasks, not yet shown; where the console is no terminal they never are.

    Args:
        console: where they stand.
        more: what follows the number done: texts, in which rich fills in `{task...}`, or columns; the time left where
            nothing is given.
        show: whether they are shown on a terminal.
        transient: whether they are gone when all is done.
    """
    told = [TextColumn(column) if isinstance(column, str) else column for column in more] or [TimeRemainingColumn()]
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *told,
        console=console,
        disable=not (show and console.is_terminal),
        transient=transient,
    )
