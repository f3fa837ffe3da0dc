"""The options of `backmix export`. `backmix.cli.export_command` does the work."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.options import Run, Workers


class Form(StrEnum):
    """Formats of exported files."""

    onnx = "onnx"
    torchscript = "torchscript"


def export(
    run: Run,
    form: Annotated[Form, typer.Option("--format", help="What to write.")] = Form.onnx,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write it. Default: model.onnx, or model.pt, in RUN."),
    ] = None,
    moved_to: Annotated[
        str | None, typer.Option(metavar="DATA", help="Where the data of the run lies now, if it has moved.")
    ] = None,
    workers: Workers = 2,
) -> None:
    """Write RUN into one file that answers without backmix, and compare that with PyTorch."""
    from backmix.cli.export_command import export_command

    export_command(run, form=form.value, out=out, moved=moved_to, workers=workers)
