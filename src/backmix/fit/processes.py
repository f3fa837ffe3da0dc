"""Choices of the first process, which the others follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

T = TypeVar("T")


def from_first_process(find: Callable[[], T], accelerator: Accelerator) -> T:
    """Return the result of `find` in the first process to all processes."""
    found: list[Any] = [find() if accelerator.is_main_process else None]
    if accelerator.num_processes > 1:
        broadcast_object_list(found)
    return found[0]  # type: ignore[no-any-return]
