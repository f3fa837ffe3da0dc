"""`backmix predict`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Kind(StrEnum):
    """Kinds of files of answers."""

    csv = "csv"
    jsonl = "jsonl"
    json = "json"
    parquet = "parquet"


class Linking(StrEnum):
    """Ways of getting a file into a folder."""

    copy = "copy"
    hard = "hard"
    symbolic = "symbolic"


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
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a .csv, .jsonl, .json or .parquet file instead of a table."),
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option("--format", help="Kind of the file. Default: by its name. Without --out, to standard output."),
    ] = None,
    sort_into: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also copy each image into DIR/CLASS or DIR/unknown; nothing is moved."),
    ] = None,
    link: Annotated[Linking | None, typer.Option(help="With --sort-into: copy (default), or link.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a FILE that was not finished.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")] = False,
    recursive: Annotated[bool, typer.Option(help="Whether to enter the folders in folders.")] = True,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that decode images. Default: one a processor, at most 8.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images the model sees at a time. Default: by their size.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the likeliest classes to tell.")] = 3,
) -> None:
    """Answer for each image a class name or "unknown"."""
    from backmix.cli.predict_command import PredictArguments, predict_command

    report = predict_command(
        model,
        paths,
        PredictArguments(
            out=out,
            kind=kind and kind.value,
            sort_into=sort_into,
            link=link and link.value,
            resume=resume,
            overwrite=overwrite,
            recursive=recursive,
            workers=workers,
            batch_size=batch_size,
            top=top,
        ),
    )
    if report.stopped is not None:
        raise typer.Exit(128 + report.stopped)
