"""`backmix study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.study.arguments import StudyArguments


def study(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for study.html and study.json; goes on there.")],
    arguments: StudyArguments,
) -> None:
    """Train networks on chosen backgrounds and show what they learn of them: the study behind BackMix."""
    from backmix.cli.study_command import study_command

    study_command(arguments, out)
