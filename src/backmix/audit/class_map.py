"""Match each output of a model to a class of the data, by name or by a class map that a person writes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from backmix.data.names import plain_name
from backmix.data.plain_yaml import YamlError, read_yaml, yaml_text
from backmix.data.yaml_scalars import text_of
from backmix.errors import DataError, in_one_line, some_of
from backmix.prediction.rows import printable

Names = Sequence[Sequence[str]]
"""The names of the class of each output of a model. The first name is the one that people read."""


@dataclass(frozen=True)
class Matching:
    """The match between the outputs of a model and the classes of the data.

    Attributes:
        to_data: (K,) int64, the class of the data that each output stands for; -1 for none.
        unmatched: The classes of the data that no output stands for.
        idle: The first names of the outputs that stand for none of the classes.
    """

    to_data: Tensor
    unmatched: list[str]
    idle: list[str]


def match_classes(names: Names, classes: Sequence[str], mapping: Mapping[str, Sequence[str]] | None = None) -> Matching:
    """Find the class of the data for each output of a model.

    A class that the mapping names takes the outputs that the mapping gives it. Every other class takes the outputs that
    have its name. Upper and lower case, spaces, hyphens and underscores make no difference.

    Args:
        names: The names of the K outputs.
        classes: The classes of the data.
        mapping: Class of the data -> outputs. An output is given by its name, by its number, such as "151", or as part
            of a range, such as "151-268", which includes both ends.

    Raises:
        DataError: If a class or an output does not exist, or if an output is given to two classes.
    """
    wanted = dict(mapping or {})
    strange = [name for name in wanted if name not in classes]
    if strange:
        raise DataError(f"the class map names {strange[0]!r}, which is no class of the data: {some(classes)}")
    to_data = torch.full((len(names),), -1, dtype=torch.int64)
    outputs_called: dict[str, list[int]] = {}
    for output, called in enumerate(names):
        for name in {plain_name(name) for name in called}:
            outputs_called.setdefault(name, []).append(output)
    for number, name in enumerate(classes):
        if name in wanted:
            outputs = [output for entry in wanted[name] for output in _outputs(entry, outputs_called, len(names))]
        else:
            outputs = [output for output in outputs_called.get(plain_name(name), []) if to_data[output] < 0]
        for output in outputs:
            if to_data[output] not in (-1, number):
                other = classes[int(to_data[output])]
                raise DataError(
                    f"output {output} of the model ({names[output][0]}) is given to two classes, {other!r} and {name!r}"
                )
            to_data[output] = number
    found = set(to_data.tolist())
    unmatched = [name for number, name in enumerate(classes) if number not in found]
    return Matching(
        to_data, unmatched, [called[0] for called, at in zip(names, to_data.tolist(), strict=True) if at < 0]
    )


def read_class_map(path: Path) -> dict[str, list[str]]:
    """Read a class map, a YAML file of `class of the data: output` or `class of the data: [output, output, ...]`.

    Every value in the file is read as text.

    Raises:
        DataError: If the file cannot be read or holds anything else.
    """
    try:
        content = read_yaml(yaml_text(path), text_of)
    except (OSError, YamlError) as error:
        raise DataError(f"the class map {path} cannot be read as YAML: {in_one_line(error)}") from error
    pairs = content.items() if isinstance(content, dict) else []
    found = {str(name): [entry] if isinstance(entry, str) else entry for name, entry in pairs}
    if not found or not all(isinstance(of, list) and all(isinstance(e, str) for e in of) for of in found.values()):
        raise DataError(
            f"the class map {path} holds no classes; each line is a class of the data and the outputs of the model "
            f"that stand for it, as in 'dog: [151-268]' or 'cat: tabby'"
        )
    return found


def some(names: Sequence[str]) -> str:
    """Return the first few names in one line and the number of the others; a line break is written as \\n."""
    return some_of([printable(name) for name in names], 8)


def _outputs(entry: str, called: Mapping[str, list[int]], count: int) -> list[int]:
    if plain_name(entry) in called:
        return called[plain_name(entry)]
    match = re.fullmatch(r"\s*([0-9]{1,7})\s*(?:-\s*([0-9]{1,7})\s*)?", entry)
    if match is None:
        raise DataError(f"the class map names {entry!r}, which is no output of the model")
    first, last = int(match[1]), int(match[2] or match[1])
    if not first <= last < count:
        raise DataError(f"the class map names outputs {entry.strip()}; the model has {count}, numbered from 0")
    return list(range(first, last + 1))
