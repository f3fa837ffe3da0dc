"""The options of `backmix demo`. `backmix.demo.run` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.options import Precision


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the figures and the picture.")] = Path("runs/demo"),
    prior: Annotated[float, typer.Option(min=0.0, max=1.0, help="How often a digit stands on its own texture.")] = 0.8,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each kind.")] = 3,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training set. Default: 9.")] = None,
    precision: Annotated[
        Precision,
        typer.Option(help="fp32: much the same figures on any machine; auto: what this one is quicker in."),
    ] = Precision.fp32,
) -> None:
    """Train with and without BackMix on the embedded digits; leaves metrics.json and a picture."""
    from backmix.demo.run import run_demo

    run_demo(out, prior=prior, seeds=seeds, epochs=epochs, precision=precision.value)
