"""The options of `backmix report`. `backmix.cli.report_command` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.options import Run, Workers


def report(
    run: Run,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Images to test on. Default: those that the run held out for testing."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the test images. Default: test where there is one.")
    ] = None,
    unknown: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Further images that all count as unknown, but for classes the run knows."),
    ] = None,
    unknown_split: Annotated[str | None, typer.Option(help="Split of these. Default: test where there is one.")] = None,
    moved_to: Annotated[
        str | None, typer.Option(metavar="DATA", help="Where the data of the run lies now, if it has moved.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="HTML file to write. Default: report.html in RUN.")
    ] = None,
    workers: Workers = 2,
) -> None:
    """Write one self-contained page about a run: how good it is, where it goes wrong, how it came about."""
    from backmix.cli.report_command import report_command

    report_command(
        run,
        data=data,
        split=split,
        unknown=unknown,
        unknown_split=unknown_split,
        moved=moved_to,
        out=out,
        workers=workers,
    )
