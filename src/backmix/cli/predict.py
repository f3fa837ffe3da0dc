"""`backmix predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.options import Run


def predict(
    run: Run,
    paths: Annotated[list[Path], typer.Argument(metavar="PATHS...", help="Images, or folders of images.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write .csv or .json instead of a table.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the likeliest classes to tell.")] = 3,
) -> None:
    """Answer for each image a class name or "unknown"."""
    from backmix.commands.predict import predict_command

    predict_command(run, paths, out=out, top=top)
