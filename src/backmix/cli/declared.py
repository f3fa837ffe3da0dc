"""Options that follow from the fields of a dataclass, so that what a command can be asked for is declared once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from functools import partial
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Literal, NamedTuple, cast, get_args, get_origin

import typer
from typer.models import ArgumentInfo

from backmix.cli.options import NAMES, Data, read_names, read_numbers, read_options, read_three
from backmix.data.names import join_names


class _Option(NamedTuple):
    """One field: its name, the parameter that typer reads, and a function from the typed value to the field's."""

    field: str
    parameter: Parameter
    read: Callable[[Any], Any]


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with an option for each field of a dataclass, in place of the parameter that is the dataclass.

    A field `name: Annotated[type, help]` becomes the option `--name`. A third entry stands for the value in the help.
    Instead of the help there may be a `typer.Option` or a `typer.Argument`. A field with a type alone is the argument
    DATA if it has no default, and otherwise it cannot be typed.

    The type says how the value is typed: a dictionary as KEY=VALUE pairs, one at a time; a Literal as one of its words;
    a tuple of names or numbers as a,b,c, and names also one at a time by repeating the option.
    """
    parameters: list[Parameter] = []
    declared: dict[str, tuple[Callable[..., Any], list[_Option]]] = {}
    for own in signature(command, eval_str=True).parameters.values():
        if is_dataclass(own.annotation):
            options = [_option(field) for field in fields(own.annotation) if _is_asked(field)]
            declared[own.name] = cast(type, own.annotation), options
            parameters += [option.parameter for option in options]
        else:
            parameters.append(own.replace(kind=Parameter.KEYWORD_ONLY))
    if not declared:
        return command

    def run(**given: Any) -> None:
        for name, (made, options) in declared.items():
            given[name] = made(**{each.field: each.read(given.pop(each.parameter.name)) for each in options})
        command(**given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _is_asked(field: Field[Any]) -> bool:
    if isinstance(field.type, str):
        raise TypeError(f"the type of {field.name} is text; leave out `from __future__ import annotations` there")
    return get_origin(field.type) is Annotated or field.default is MISSING


def _option(field: Field[Any]) -> _Option:
    kind, about, *metavar = get_args(field.type if get_origin(field.type) is Annotated else Data)
    name, default = field.name, Parameter.empty if field.default is MISSING else field.default
    several = next((get_args(each)[0] for each in (kind, *get_args(kind)) if get_args(each)[1:] == (...,)), None)
    read: Callable[[Any], Any] = _as_typed
    if get_origin(kind) is Literal:
        kind, read = StrEnum("Choice", list(get_args(kind))), str
    elif get_origin(kind) is dict:
        kind, metavar, default, read = list[str] | None, ["KEY=VALUE"], None, read_options
        name = name.removesuffix("s")
    elif list[str] in get_args(kind):
        kind, metavar, read = list[str] | None, [NAMES], _joined
    elif several is str:
        kind, metavar, read = list[str] | None, [NAMES], tuple if isinstance(about, ArgumentInfo) else read_names
    elif several is not None:
        default = default and ",".join(map(str, cast(tuple[float, ...], default)))
        kind, read = str | None, partial(read_numbers, f"--{name}", several)
    elif tuple[float, float, float] in get_args(kind):
        kind, read = str | None, partial(read_three, f"--{name}")
    option = typer.Option(help=about, metavar=next(iter(metavar), None)) if isinstance(about, str) else about
    parameter = Parameter(name, Parameter.KEYWORD_ONLY, annotation=Annotated[kind, option], default=default)
    return _Option(field.name, parameter, read)


def _as_typed(given: Any) -> Any:
    return given


def _joined(given: list[str] | None) -> str | None:
    """Return a single text as it was typed, and several texts as names that were typed one at a time."""
    return given[0] if given and len(given) == 1 else join_names(given) if given else None
