"""What a run from elsewhere may ask for: bounds on its files, on its settings and on the network they describe."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from yaml.composer import ComposerError
from yaml.nodes import Node

from backmix.errors import RunError, in_one_line
from backmix.runs.fetch import MAX_BYTES

MAX_IMAGE_SIZE = 2048  # Pixels.
SPARE_ELEMENTS = 2**28  # What may be made beside the weights: timm builds parts that are dropped again, as VGG's.
SPARE_TENSORS = 10_000


def read_text(path: Path) -> str:
    """Text of one of the small files of a run, see `MAX_BYTES`.

    Raises:
        RunError: when it is larger than any that backmix writes.
        UnicodeDecodeError: when it is no UTF-8.
    """
    limit = MAX_BYTES[path.name]
    with open(path, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise RunError(f"{path} is larger than {limit // 2**20} MiB, so backmix did not write it. Restore it.")
    return content.decode("utf-8")


def read_settings(path: Path) -> Any:
    """Content of a config.yaml: numbers, text, lists and dictionaries, nothing that refers to another place.

    Raises:
        RunError: when it is too large, no YAML, or holds anything else.
    """
    try:
        settings = yaml.load(read_text(path), _PlainLoader)
        json.dumps(settings, sort_keys=True, default=str)  # As its fingerprint is taken.
    except RunError:
        raise
    except Exception as error:  # For values that contradict their tags PyYAML raises whatever comes first.
        raise RunError(f"{path} is not readable YAML as backmix writes it: {in_one_line(error)}") from error
    return settings


def read_classes(path: Path) -> list[str]:
    """Names in a classes.json.

    Raises:
        RunError: when the file is too large.
        ValueError: when it is no list of different names.
    """
    classes = json.loads(read_text(path))
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes.json is not a list of names")
    if len(set(classes)) != len(classes):
        raise ValueError("classes.json names a class twice")
    return classes


def check_image_size(size: object) -> int:
    """The image size of a run.

    Raises:
        ValueError: unless it is a whole number of pixels of at most `MAX_IMAGE_SIZE`.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size > MAX_IMAGE_SIZE:
        raise ValueError(f"image_size is a whole number of at most {MAX_IMAGE_SIZE} pixels; found {size!r}")
    return size


def without_weight_sources(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a backbone without those that say where its first weights lie.

    The weights of a run replace them, and timm would open whatever file a `checkpoint_path` names.
    """
    return {
        name: value
        for name, value in options.items()
        if not name.startswith("pretrained") and name not in ("checkpoint_path", "cache_dir")
    }


class BuildLimit(TorchDispatchMode):
    """Inside, a network much larger than the weights meant for it is refused before it takes the memory.

    A config.yaml of a few lines can ask for a terabyte, and the weights that come with it would not fit in any case.

    Args:
        weights: by name, what the network is to hold.

    Raises:
        ValueError: inside, at the first tensor beyond the limit.
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
        return 0  # The operation itself says what is wrong.


def _steps(name: str, args: tuple[Any, ...]) -> int:
    numbers = [float(value) for value in args if isinstance(value, int | float)]
    if name == "linspace":
        return int(numbers[2]) if len(numbers) > 2 else 0
    start, end, step = (0.0, numbers[0], 1.0) if len(numbers) == 1 else (*numbers, 1.0)[:3]
    return int(abs(end - start) / abs(step)) if step else 0


class _PlainLoader(yaml.SafeLoader):
    """Safe, and without anchors: a few of them inside one another stand for more than any machine holds."""

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ComposerError(None, None, "found a reference to another place (*name)", mark)
        node: Node | None = super().compose_node(parent, index)
        return node
