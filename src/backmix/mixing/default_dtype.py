"""Functions that compute in float32, whatever a program has set with `torch.set_default_dtype`.

Random numbers, quotients of whole numbers and new tensors take the default dtype. In float16 the place of a patch or
the threshold of a draw would be coarse, and in float64 the same seed would draw other numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function within which float32 is the default dtype. The dtype is that of the whole program meanwhile."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        before = torch.get_default_dtype()
        if before == torch.float32:
            return function(*args, **kwargs)
        torch.set_default_dtype(torch.float32)
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_default_dtype(before)

    return run
