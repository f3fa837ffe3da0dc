"""Arguments and options that several commands take, and how their text is read."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from backmix.data.names import join_names, split_names
from backmix.errors import in_one_line, some_of


class Precision(StrEnum):
    """Names of precisions."""

    auto = "auto"
    bf16 = "bf16"
    fp32 = "fp32"


NAMES = "NAMES"
"""What stands for names of classes, which may hold commas, see `backmix.data.names`."""

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder of class folders (with train/val/test inside or not), a folder of Parquet files, a hub id "
        "owner/name, or digits[:prior=0.8], the embedded set.",
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder a training left behind.")]
AnyRun = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="The folder a training left behind, or hub:owner/name, one that was shared."),
]
Workers = Annotated[int, typer.Option(min=1, help="Threads or processes that decode images.")]


def read_config_file(context: typer.Context, path: Path | None) -> Path | None:
    """Take options from a YAML file as defaults. Options that are typed come before them."""
    if path is None or context.resilient_parsing:
        return path
    from backmix.data.plain_yaml import YamlError, read_yaml, yaml_text
    from backmix.data.write_yaml import as_yaml
    from backmix.data.yaml_scalars import text_of

    try:
        text = yaml_text(path)  # Once, because it may be a pipe.
        content, texts = read_yaml(text), read_yaml(text, text_of)
    except (OSError, YamlError) as error:
        raise typer.BadParameter(f"{path} cannot be read as YAML: {in_one_line(error)}") from None
    if not isinstance(content, dict):
        raise typer.BadParameter(f"{path} holds no options; they are written as 'epochs: 20', one a line")
    there = {parameter.name for parameter in context.command.params} - {"config", "help"}
    # A single value is what it would be if it were typed: the option says whether 08 is a name or a number.
    single = {name: of for name, of in texts.items() if isinstance(of, str) and content.get(name) is not None}
    defaults = {name.replace("-", "_"): value for name, value in {**content, **single}.items()}
    names_in_lists = {name.replace("-", "_"): of for name, of in texts.items() if isinstance(of, list)}
    if unknown := sorted(defaults.keys() - there):
        raise typer.BadParameter(f"{path} has {some_of(unknown)}; {context.info_name} has no such option")
    if len(defaults) < len(content):
        twice = next(name for name in content if "_" in name and name.replace("_", "-") in content)
        raise typer.BadParameter(f"{path} has {twice} twice, also with hyphens. Leave one of them out.")
    names = {parameter.name for parameter in context.command.params if parameter.metavar == NAMES}
    pairs = {parameter.name for parameter in context.command.params if parameter.metavar == "KEY=VALUE"}
    for name, value in defaults.items():
        if isinstance(value, list | dict) and name not in names | pairs:
            raise typer.BadParameter(
                f"{name} in {path} is to be one value, as one types it; got {as_yaml(value, in_one_line=True)}"
            )
        if isinstance(value, dict):
            defaults[name] = [f"{key}={as_yaml(of, in_one_line=True)}" for key, of in value.items()]
        elif name in pairs and value is not None:
            defaults[name] = [str(pair) for pair in value] if isinstance(value, list) else [str(value)]
        elif name in names and value is not None:
            defaults[name] = [join_names(map(str, names_in_lists.get(name, []))) if isinstance(value, list) else value]
    context.default_map = {**(context.default_map or {}), **defaults}
    return path


Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        is_eager=True,
        callback=read_config_file,
        help="Options as a YAML file, such as the fit.yaml of another run; what is typed comes first.",
    ),
]


def read_names(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Read names as a,b,c, where a comma in a name has a backslash before it, or one name of each repeated option.

    If the argument is None, the result is None.
    """
    if given is None:
        return None
    times = [given] if isinstance(given, str) else given
    return tuple(filter(None, split_names(times[0]) if len(times) == 1 else times))


def read_numbers(option: str, kind: type[int] | type[float], given: str | None) -> tuple[float, ...] | None:
    """Read numbers as 0,1,2. If the argument is None, the result is None."""
    try:
        return None if given is None else tuple(kind(number) for number in given.split(","))
    except ValueError:
        wanted = "whole numbers such as 0,1,2" if kind is int else "rates such as 0.5,0.95"
        raise typer.BadParameter(f"{option} takes {wanted}; got {given!r}") from None


def read_three(option: str, given: str | None) -> tuple[float, float, float] | None:
    """Read three numbers as 0.5,0.5,0.5, or one for all three. If the argument is None, the result is None."""
    if given is None:
        return None
    try:
        numbers = tuple(float(number) for number in given.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3:
        raise typer.BadParameter(f"{option} takes three numbers, as 0.5,0.5,0.5; got {given!r}")
    return numbers


def read_options(given: list[str] | None) -> dict[str, Any]:
    """Read KEY=VALUE pairs into a dictionary. Values are read as YAML, so numbers and truth values are recognised."""
    from backmix.data.plain_yaml import YamlError, read_yaml

    options: dict[str, Any] = {}
    for pair in given or []:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{pair!r} is no KEY=VALUE")
        try:
            options[key.replace("-", "_")] = read_yaml(value)
        except YamlError as error:
            raise typer.BadParameter(f"the value of {pair!r} cannot be read: {in_one_line(error)}") from None
    return options
