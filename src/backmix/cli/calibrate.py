"""The options of `backmix calibrate`. `backmix.cli.calibrate_command` does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from backmix.cli.options import Run, Workers, read_names


def calibrate(
    run: Run,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]",
            help="Images of known classes that were not trained on, as for fit. Default: those that the run held out.",
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of DATA. Default: val, else test.")] = None,
    accept: Annotated[
        float | None, typer.Option(help="Share of known images that the threshold is to accept. Default: as before.")
    ] = None,
    per_class: Annotated[
        bool | None,
        typer.Option("--per-class/--overall", help="Whether each class has its own threshold. Default: as before."),
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="The one to decide; with --unknown those to choose from, as a,b,c.")
    ] = None,
    unknown: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Example unknowns. They choose among detectors and do nothing else."),
    ] = None,
    moved_to: Annotated[
        str | None, typer.Option(metavar="DATA", help="Where the data of the run lies now, if it has moved.")
    ] = None,
    workers: Workers = 2,
) -> None:
    """Set the thresholds of a run again; tells promised against observed acceptance."""
    from backmix.cli.calibrate_command import calibrate_command

    calibrate_command(
        run,
        data,
        split=split,
        accept=accept,
        per_class=per_class,
        detectors=read_names(detector),
        unknown=unknown,
        moved=moved_to,
        workers=workers,
    )
