"""`backmix study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.options import Workers, read_names, read_numbers


def study(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for study.html and study.json; goes on there.")],
    data: Annotated[
        str,
        typer.Argument(
            metavar="[DATA]",
            help="digits, the embedded set, or images with masks, divided into train and test.",
        ),
    ] = "digits",
    scenes: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Images of backgrounds with classes: objects are cut out and laid over them, so that the prior can "
            "be chosen. Default: photographs as they are, without part a.",
        ),
    ] = None,
    other_scenes: Annotated[
        str | None, typer.Option(metavar="DATA", help="Backgrounds that no known class stands on, for tests.")
    ] = None,
    outliers: Annotated[
        str | None, typer.Option(metavar="DATA", help="Images of none of the classes, as an outlier set in part b.")
    ] = None,
    known_classes: Annotated[
        list[str] | None,
        typer.Option(
            help="Names or numbers, as a,b,c, or the option once for each. A comma in a name is written \\,. "
            "Default: the first six of ten."
        ),
    ] = None,
    parts: Annotated[
        str,
        typer.Option(
            help="a: rising priors; b: backgrounds as outliers; c: predictions of why BackMix works; d: audits."
        ),
    ] = "a,b,c,d",
    priors: Annotated[
        str | None,
        typer.Option(help="Rates, as 0.5,0.95. Default: independent, 0.5, 0.8, 0.95."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="As 0,1,2: trainings of each cell.")] = "0,1,2",
    model: Annotated[str | None, typer.Option(help="Backbone. Default: compact-s.")] = None,
    image_size: Annotated[int | None, typer.Option(min=16, help="Default: 64; the digits have 32.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: by the number of images.")] = None,
    workers: Workers = 2,
) -> None:
    """Train networks on chosen backgrounds and show what they learn of them: the study behind BackMix."""
    from backmix.cli.study_command import study_command
    from backmix.study.arguments import StudyArguments

    study_command(
        StudyArguments(
            data=data,
            scenes=scenes,
            other_scenes=other_scenes,
            outliers=outliers,
            known_classes=read_names(known_classes),
            parts=read_names(parts) or (),
            priors=_rates(priors),
            seeds=read_numbers(seeds),
            model=model,
            image_size=image_size,
            epochs=epochs,
            workers=workers,
        ),
        out,
    )


def _rates(given: str | None) -> tuple[float, ...] | None:
    try:
        return None if given is None else tuple(float(rate) for rate in given.split(","))
    except ValueError:
        raise typer.BadParameter(f"--priors are rates such as 0.5,0.95; got {given!r}") from None
