"""The options of `backmix predict`. `backmix.cli.predict_command` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.arguments import PredictArguments


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="The folder a training left behind, its exported .onnx file, or hub:owner/name, a shared run.",
        ),
    ],
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATHS...",
            help="Images, folders of images, patterns such as 'photos/**/*.jpg' in quotes, or - for a list on standard "
            "input, one a line or separated by NUL.",
        ),
    ],
    arguments: PredictArguments,
) -> None:
    """Answer for each image a class name or "unknown"."""
    from backmix.cli.predict_command import predict_command

    report = predict_command(model, paths, arguments)
    if report.stopped is not None:
        raise typer.Exit(128 + report.stopped)
    if report.unreadable and not report.answered:
        typer.echo("none of the images could be read; see the reasons above or in the file of answers", err=True)
        raise typer.Exit(1)
