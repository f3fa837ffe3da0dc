"""What the first of several processes finds, told to all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

T = TypeVar("T")

_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")


def is_first_process() -> bool:
    """Return whether this is the first of several processes, by what their launcher says of it.

    It serves where there is no accelerator yet. A process that no launcher started is the first one.
    """
    return all(os.environ.get(name, "0") in ("0", "") for name in _RANKS)


def from_first_process(find: Callable[[], T], accelerator: Accelerator) -> T:
    """Return the result of `find` in the first process to all processes."""
    found: list[Any] = [find() if accelerator.is_main_process else None]
    if accelerator.num_processes > 1:
        broadcast_object_list(found)
    return found[0]  # type: ignore[no-any-return]
