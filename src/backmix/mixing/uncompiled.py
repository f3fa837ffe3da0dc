"""Functions that stay as they are inside a step that `torch.compile` compiles.

What a function of random choices and of NumPy does cannot be compiled as a whole. It would break into many small
pieces, each with a warning. It runs as written instead, and the compiled step goes on behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from backmix.mixing.default_dtype import in_float32

P = ParamSpec("P")
R = TypeVar("R")


def uncompiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that `torch.compile` calls without compiling it or anything that it calls.

    What stands outside the compiled code depends on no setting of the program either: it computes `in_float32`.
    """
    function = in_float32(function)

    # `torch.compiler.disable` as a decorator would import the compiler, which takes a second, with this package.
    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(function)(*args, **kwargs)  # type: ignore[no-any-return]
        return function(*args, **kwargs)

    return run
