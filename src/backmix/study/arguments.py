"""What a study can be asked for, declared once: the command line and its help follow from here."""

# Annotations are no strings here: the command line reads them whenever it starts, and strings take longer.
from dataclasses import dataclass
from typing import Annotated

import typer

from backmix.data.names import join_names


@dataclass(frozen=True)
class StudyArguments:
    """What `backmix study` was asked for; the data chooses what is None."""

    data: Annotated[
        str,
        typer.Argument(
            metavar="[DATA]",
            help="digits, the embedded set, or images with masks, divided into train and test.",
        ),
    ] = "digits"
    scenes: Annotated[
        str | None,
        "Images of backgrounds with classes: objects are cut out and laid over them, so that the prior can be chosen. "
        "Default: photographs as they are, without part a.",
        "DATA",
    ] = None
    other_scenes: Annotated[str | None, "Backgrounds that no known class stands on, for tests.", "DATA"] = None
    outliers: Annotated[str | None, "Images of none of the classes, as an outlier set in part b.", "DATA"] = None
    known_classes: Annotated[
        tuple[str, ...] | None,
        "Names or numbers, as a,b,c, or the option once for each. A comma in a name is written \\,. "
        "Default: the first six of ten.",
    ] = None
    parts: Annotated[
        tuple[str, ...],
        "a: rising priors; b: backgrounds as outliers; c: predictions of why BackMix works; d: audits.",
    ] = ("a", "b", "c", "d")
    priors: Annotated[tuple[float, ...] | None, "Rates, as 0.5,0.95. Default: independent, 0.5, 0.8, 0.95."] = None
    seeds: Annotated[tuple[int, ...], "As 0,1,2: trainings of each cell."] = (0, 1, 2)
    model: Annotated[str | None, "Backbone. Default: compact-s."] = None
    image_size: Annotated[int | None, typer.Option(min=16, help="Default: 64; the digits have 32.")] = None
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: by the number of images.")] = None
    workers: Annotated[int, typer.Option(min=1, help="Threads or processes that decode images.")] = 2


def typed(arguments: StudyArguments) -> list[str]:
    """Return the words of the command that repeats a study into the folder NEW."""
    words = ["backmix", "study", arguments.data, "--out", "NEW"]
    usual = StudyArguments()
    for name in StudyArguments.__dataclass_fields__:
        value = getattr(arguments, name)
        if name == "data" or value == getattr(usual, name):
            continue
        typed_value = (
            join_names(f"{each:g}" if isinstance(each, float) else str(each) for each in value)
            if isinstance(value, tuple)
            else str(value)
        )
        words += [f"--{name.replace('_', '-')}", typed_value]
    return words
