"""One form of progress bars: on a terminal, and nowhere else."""

import io

import pytest
from rich.console import Console

from backmix.pages.progress import progress_bars


def shown(*more, terminal=True, **options):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    with progress_bars(console, *more, **options) as bar:
        task = bar.add_task("reading", total=20, state="page 3")
        bar.update(task, completed=10)
    return console.file.getvalue()


def test_what_how_many_and_the_time_left():
    said = shown()
    assert "reading" in said and "10/20" in said and "-:--:--" in said


def test_what_else_is_told_stands_in_place_of_the_time():
    said = shown("{task.fields[state]}")
    assert "10/20 page 3" in said and "-:--:--" not in said


@pytest.mark.parametrize("options", [{"terminal": False}, {"show": False}])
def test_nothing_is_shown_to_nobody(options):
    assert "reading" not in shown(**options)
