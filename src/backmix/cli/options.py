"""Arguments and options that several commands take, and how their text is read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Precision(StrEnum):
    """Names of precisions."""

    auto = "auto"
    bf16 = "bf16"
    fp32 = "fp32"


Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder of class folders (with train/val/test inside or not), a folder of Parquet files, a hub id "
        "owner/name, or digits[:prior=0.8], the embedded set.",
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder a training left behind.")]
Workers = Annotated[int, typer.Option(min=1, help="Threads or processes that decode images.")]


def read_names(given: str | None) -> tuple[str, ...] | None:
    """Names as a,b,c; None stays."""
    return None if given is None else tuple(name.strip() for name in given.split(",") if name.strip())


def read_numbers(given: str) -> tuple[int, ...]:
    """Whole numbers as 0,1,2."""
    try:
        return tuple(int(number) for number in given.split(","))
    except ValueError:
        raise typer.BadParameter(f"{given!r} is no list of whole numbers such as 0,1,2") from None


def read_options(given: list[str] | None) -> dict[str, Any]:
    """KEY=VALUE pairs as a dictionary; values are read as YAML, so that numbers and true become what they look like."""
    import yaml

    options: dict[str, Any] = {}
    for pair in given or []:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{pair!r} is no KEY=VALUE")
        options[key.replace("-", "_")] = yaml.safe_load(value)
    return options
