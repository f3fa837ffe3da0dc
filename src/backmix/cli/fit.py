"""`backmix fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.options import Config, Workers
from backmix.fit.arguments import FitArguments


def fit(
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run.")],
    arguments: FitArguments,
    workers: Workers = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
    config: Config = None,
) -> None:
    """Train a classifier that can say "unknown", and calibrate it on images held out."""
    from backmix.cli.fit_command import fit_command

    fit_command(arguments, out, resume=resume, workers=workers)
