"""Limits for runs from elsewhere: on their files, on their settings and on the network that the settings describe."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from backmix.data.plain_yaml import YamlError, read_yaml
from backmix.data.yaml_scalars import written_value
from backmix.errors import RunError, in_one_line
from backmix.runs.fetch import MAX_BYTES

SPARE_ELEMENTS = 2**28  # Elements allowed beyond those of the weights: timm builds parts and drops them, as for VGG.
SPARE_TENSORS = 10_000
MAX_TEXT = 2**26
"""The largest size in bytes of the files of a run that hold figures or the names of images."""


def read_text(path: Path) -> str:
    """Return the text of one of the small files of a run, see `read_bytes`.

    Raises:
        RunError: If the file is larger than any that backmix writes.
        UnicodeDecodeError: If it is not UTF-8.
    """
    return read_bytes(path).decode("utf-8")


def read_bytes(path: Path) -> bytes:
    """Return the content of one of the small files of a run, see `MAX_BYTES` and `MAX_TEXT`.

    Raises:
        RunError: If the file is larger than any that backmix writes.
    """
    limit = MAX_BYTES.get(path.name, MAX_TEXT)
    with open(path, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise RunError(f"{path} is larger than {limit // 2**20} MiB, so backmix did not write it. Restore it.")
    return content


def read_settings(path: Path) -> Any:
    """Return the content of a config.yaml of this or an earlier version, in bounded time.

    Raises:
        RunError: If the file is too large, is not YAML, or holds anything but texts, numbers, truth values, lists and
            dictionaries.
    """
    try:
        return read_yaml(read_text(path), written_value)
    except (YamlError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is not readable YAML as backmix writes it: {in_one_line(error)}") from error


def read_classes(path: Path) -> list[str]:
    """Return the names in a classes.json.

    Raises:
        RunError: If the file is too large.
        ValueError: If it is not a list of different names.
    """
    classes = json.loads(read_text(path))
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes.json is not a list of names")
    if len(set(classes)) != len(classes):
        raise ValueError("classes.json names a class twice")
    return classes


def without_weight_sources(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a backbone without those that name the source of its initial weights.

    The weights of a run replace the initial weights, and timm would open any file that a `checkpoint_path` names.
    """
    return {
        name: value
        for name, value in options.items()
        if not name.startswith("pretrained") and name not in ("checkpoint_path", "cache_dir")
    }


class BuildLimit(TorchDispatchMode):
    """A context in which a network that is much larger than its weights is refused before it takes the memory.

    A config.yaml of a few lines can describe a network of a terabyte, which cannot match the weights of the run.

    Args:
        weights: The weights that the network is to hold, by name.

    Raises:
        ValueError: Inside the context, at the first tensor beyond the limit.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = SPARE_ELEMENTS + 8 * sum(value.numel() for value in weights.values())
        self.tensors = SPARE_TENSORS + 8 * len(weights)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        made = 0
        if torch.Tag.pointwise in func.tags:
            made = _broadcast(args)
        elif name in ("arange", "linspace"):
            made = _steps(name, args)
        elif name in _FACTORIES:
            made = math.prod(next(iter(size for size in args if isinstance(size, list | tuple)), ()))
            self.elements -= made
            self.tensors -= 1
        if made > max(0, self.elements) or self.elements < 0 or self.tensors < 0:
            raise ValueError("its settings describe a network far larger than the weights that come with it")
        return func(*args, **kwargs)


_FACTORIES = {
    *("empty", "empty_strided", "empty_permuted", "zeros", "ones", "full", "rand", "randn", "randint", "normal"),
    *("new_empty", "new_empty_strided", "new_zeros", "new_ones", "new_full"),
}


def _broadcast(args: tuple[Any, ...]) -> int:
    shapes = [value.shape for value in args if isinstance(value, Tensor)]
    try:
        return math.prod(torch.broadcast_shapes(*shapes))
    except RuntimeError:
        return 0  # The operation itself raises the error.


def _steps(name: str, args: tuple[Any, ...]) -> int:
    numbers = [float(value) for value in args if isinstance(value, int | float)]
    if name == "linspace":
        return int(numbers[2]) if len(numbers) > 2 else 0
    start, end, step = (0.0, numbers[0], 1.0) if len(numbers) == 1 else (*numbers, 1.0)[:3]
    return int(abs(end - start) / abs(step)) if step else 0
