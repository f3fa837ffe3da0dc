"""Make the progress bars of a terminal, all of the same form: the task, a bar, the number done, and further columns."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def progress_bars(
    console: Console, *more: str | ProgressColumn, show: bool = True, transient: bool = False
) -> Progress:
    """Return progress bars for tasks, which are not yet shown. They are never shown if the console is no terminal.

    Args:
        console: The console of the bars.
        more: The columns after the number done. A column is a text, in which rich fills in `{task...}`, or a column of
            rich. If none is given, the remaining time is shown.
        show: Whether the bars are shown on a terminal.
        transient: Whether the bars disappear at the end.
    """
    further = [TextColumn(column) if isinstance(column, str) else column for column in more] or [TimeRemainingColumn()]
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *further,
        console=console,
        disable=not (show and console.is_terminal),
        transient=transient,
    )
