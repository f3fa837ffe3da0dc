"""What all cells of a grid share, declared once: options of the command line follow from here."""

# Annotations are no strings here: the command line reads them whenever it starts, and strings take longer.
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer


@dataclass(frozen=True)
class GridOptions:
    """What all cells of a grid share. `keep_checkpoints` says whether the checkpoint of a finished cell stays."""

    root: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="ROOT",
            help="Folder with a local copy of each data set. Default: the Hugging Face hub.",
        ),
    ] = None
    detectors: Annotated[tuple[str, ...], "Unknown scores to give figures of."] = (
        "method",
        "max_logit",
        "msp",
        "energy",
    )
    unknown_sets: Annotated[
        tuple[str, ...] | None, "Which unknown sets of the protocol. Default: those whose images are there."
    ] = None
    outliers: Annotated[str, "What methods that learn from outliers take: 'backgrounds', or DATA as for fit."] = (
        "backgrounds"
    )
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None
    precision: Annotated[Literal["auto", "bf16", "fp32"], "As for fit."] = "auto"
    workers: Annotated[int, typer.Option(min=1, help="Threads or processes that decode images.")] = 2
    keep_checkpoints: bool = False
