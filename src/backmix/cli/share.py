"""The options of `backmix share`. `backmix.cli.share_command` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.options import Run


def share(
    run: Run,
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository of the hub, made if missing.")],
    private: Annotated[
        bool, typer.Option("--private", help="Only you and those you allow see it; a public repository is refused.")
    ] = False,
    dry_run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write what would be shared into this new folder; send nothing.")
    ] = None,
    license: Annotated[
        str | None, typer.Option(metavar="ID", help="Licence of the weights, as the hub names it: apache-2.0, ...")
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Figures for the model card, from evaluate --json. Default: those of the run."
        ),
    ] = None,
    training_outputs: Annotated[
        bool | None,
        typer.Option(
            "--training-outputs/--without-training-outputs",
            help="Whether to share training.safetensors: features of training images, though no pictures. Default: "
            "where the detector that decides is fitted on it.",
        ),
    ] = None,
    card: Annotated[bool, typer.Option(help="Whether to write README.md, over the one that is there.")] = True,
) -> None:
    """Put a run on the Hugging Face hub, with a model card and without paths, names of images or checkpoints."""
    from backmix.cli.share_command import share_command

    share_command(
        run,
        repository,
        private=private,
        dry_run=dry_run,
        card=card,
        training_outputs=training_outputs,
        evaluation=evaluation,
        license=license,
    )
