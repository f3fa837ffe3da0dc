"""The values of options that a person typed, checked and converted by the annotations of the constructor.

A command line and a YAML file say `8.0` where a whole number is meant, and settings of earlier versions hold `1e-1` as
text. What can be meant is converted, and anything else is refused in one sentence before a constructor computes with
it.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    torch.dtype: "a type of torch, as float32",
    type(None): "none",
}


class _Unfit(ValueError):
    """A value is not what an annotation asks for."""


def fitting_options(owner: str, make: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with the types that a constructor asks for.

    Args:
        owner: What the options belong to, for the message, such as "method arpl".
        make: The class or the function that takes the options by keyword.
        options: The options by name. Names that `make` does not annotate come back unchanged.

    Raises:
        ValueError: If a value is of another type and cannot be meant as the right one.
    """
    annotations = _annotations(make)
    fitting = {}
    for name, value in options.items():
        try:
            fitting[name] = _fit(value, annotations[name]) if name in annotations else value
        except _Unfit:
            raise ValueError(f"{owner}: {name} is {_in_words(annotations[name])}; got {value!r}") from None
    return fitting


def _annotations(make: Callable[..., Any]) -> dict[str, Any]:
    while isinstance(make, partial):
        make = make.func
    try:
        return get_type_hints(make.__init__ if isinstance(make, type) else make)  # type: ignore[misc]
    except (NameError, TypeError):  # The types of a constructor from elsewhere may not be importable.
        return {}


def _fit(value: Any, kind: Any) -> Any:
    """Return a value as an annotation asks for it, or raise _Unfit."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _fit_one_of(value, inner)
    if origin in (Sequence, tuple, list):
        return _fit_several(value, inner)
    if kind in (int, float):
        return _fit_number(value, kind)
    if kind is torch.dtype and isinstance(value, str):
        value = getattr(torch, value, None)
    if kind is Any or origin is not None or typing.is_typeddict(kind) or not isinstance(kind, type):
        return value
    if not isinstance(value, kind):
        raise _Unfit
    return value


def _fit_one_of(value: Any, kinds: Sequence[Any]) -> Any:
    for kind in kinds:
        try:
            return _fit(value, kind)
        except _Unfit:
            continue
    raise _Unfit


def _fit_several(value: Any, kinds: Sequence[Any]) -> tuple[Any, ...]:
    """Return several values as a tuple; one value, or text with commas, stands for a list."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif isinstance(value, Mapping) or value is None:
        raise _Unfit
    elif not hasattr(value, "__iter__"):
        value = [value]
    values = list(value)
    if len(kinds) == 1 or kinds[1:] == (...,):
        return tuple(_fit(each, kinds[0]) for each in values)
    if kinds and len(kinds) != len(values):
        raise _Unfit
    return tuple(_fit(each, kind) for each, kind in zip(values, kinds, strict=True)) if kinds else tuple(values)


def _fit_number(value: Any, kind: type[int] | type[float]) -> Any:
    if isinstance(value, bool):
        raise _Unfit
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _Unfit from None
    if isinstance(value, Integral):
        return kind(value)
    if not isinstance(value, Real) or not math.isfinite(value) or (kind is int and not float(value).is_integer()):
        raise _Unfit
    return kind(float(value))


def _in_words(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_in_words(each) for each in inner)
    if origin in (Sequence, tuple, list):
        one = _in_words(inner[0]) if inner else "a value"
        fixed = len(inner) if len(inner) > 1 and inner[1:] != (...,) else 0
        return f"a list of {f'{fixed} values' if fixed else 'values'}, as [A, B], each {one}"
    return _WORDS.get(kind, f"a {getattr(kind, '__name__', kind)}")
