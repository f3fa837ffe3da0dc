"""The options of `backmix evaluate`. `backmix.cli.evaluate_command` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.options import AnyRun, Data, Workers


def evaluate(
    run: AnyRun,
    data: Data,
    split: Annotated[str | None, typer.Option(help="Split of DATA. Default: test where there is one.")] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Detectors to show, as a,b,c, or all. Default: those that need no further package, and the one that "
            "decides."
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures here.")
    ] = None,
    workers: Workers = 2,
) -> None:
    """Figures on a test set; classes of DATA that the run does not know count as unknown."""
    from backmix.cli.evaluate_command import evaluate_command

    evaluate_command(run, data, split=split, detectors=detector, json_file=json_file, workers=workers)
