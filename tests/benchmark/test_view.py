"""What is seen of a grid while it runs."""

import io

import pytest
from rich.console import Console

from backmix.benchmark.grid import make_grid
from backmix.benchmark.view import GridView, duration
from backmix.train.loop import Progress

CELLS = make_grid([("cifar10", "cssr", ["a", "b"])])
METRICS = {"rows": [{"accuracy": 0.9, "auroc": 0.8, "oscr": 0.75}]}


def text_of(view, terminal=True):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=140, no_color=True)
    console.print(view.render())
    return console.file.getvalue()


def test_lines_where_there_is_no_terminal():
    console = Console(file=io.StringIO(), force_terminal=False, width=140)
    with GridView(console, 4, 1) as view:
        view.begin(CELLS[0])
        view.step(CELLS[0], Progress(0, 1, 8, 2.0, 0.1))
        view.end(CELLS[0], METRICS, None)
        view.begin(CELLS[1])
        view.end(CELLS[1], None, "DataError: [red]no images[/red]")
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("2/4 cifar10-cssr-a_cpu_softmax_none_seed0: accuracy 90.0, AUROC 80.0, OSCR 75.0 (")
    assert lines[1] == "3/4 cifar10-cssr-a_cpu_softmax_backmix_seed0 failed: DataError: [red]no images[/red]"
    assert len(lines) == 2


def test_the_picture_of_the_moment():
    console = Console(file=io.StringIO(), force_terminal=True, width=140)
    view = GridView(console, 4, 0)
    view.begin(CELLS[0])
    view.end(CELLS[0], METRICS, None)
    view.begin(CELLS[1])
    view.step(CELLS[1], Progress(2, 30, 80, 1.25, 0.5))
    picture = text_of(view)
    assert "1 of 4 finished, about 0 s left" in picture
    assert "softmax_backmix" in picture and "30/80" in picture and "epoch 3  loss 1.250" in picture
    view.end(CELLS[1], None, "RunError: x")
    assert "1 of 4 finished, 1 failed" in text_of(view)


def test_a_cell_may_end_that_never_said_it_began():
    console = Console(file=io.StringIO(), force_terminal=False, width=140)
    with GridView(console, 1, 0) as view:
        view.end(CELLS[0], {"rows": []}, None)
    assert console.file.getvalue().startswith("1/1 ")


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3500, "58 min"), (3599, "1 h 00 min"), (11100, "3 h 05 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
