"""The range of the values of deep pixels (more than 8 bits), and how they become 8 bits.

A file of 16 bits may hold fewer: scientific cameras write 12 bits into 16. Where the file says so, its word is taken.
Where it does not, the range is guessed by the values. A dark photograph would then come out brighter than a bright one,
so the photographs of a run are read with one range, see `backmix.data.common_range`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

Range = tuple[float, float]
"""The value that is black and the value that is white."""
Ranges = Mapping[str, Range]
"""The range of each kind of values (see `kind_of`), for values whose file declares none."""

NO_RANGES: Ranges = MappingProxyType({})

DEPTHS = (8, 10, 12, 14, 16)
"""The numbers of bits that cameras and programs write into 16 bits."""


def kind_of(dtype: np.dtype[Any]) -> str:
    """Return the name of the kind of values: "float", or the name of the dtype, such as "uint16"."""
    return "float" if dtype.kind == "f" else dtype.newbyteorder("=").name


def guess_range(kind: str, low: float, high: float) -> Range:
    """Return the range that values from `low` to `high` are most likely written in.

    Whole numbers from 0 on have the fewest bits of `DEPTHS` (32-bit numbers: 8 or 16) that hold them. Floats from 0 on
    go to 1, 255 or 65535. The range of all other values goes from the smallest to the largest.

    Args:
        kind: The kind of the values, see `kind_of`.
        low: The smallest finite value.
        high: The largest finite value.
    """
    if kind == "float":
        limits = [1.0, 255.0, 65535.0]
    else:
        limits = [float(2**bits - 1) for bits in (DEPTHS if kind.endswith("16") else (8, 16))]
    return next(((0.0, limit) for limit in limits if low >= 0 and high <= limit), (low, high))


def read_ranges(content: Any) -> dict[str, Range]:
    """Return the ranges in a file of a run or of an exported model.

    Raises:
        ValueError: If they are not a name with two finite numbers each, black before white.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"value_ranges holds {type(content).__name__}, not names and pairs of numbers")
    found: dict[str, Range] = {}
    for kind, ends in content.items():
        pair = list(ends) if isinstance(ends, (list, tuple)) else []
        if len(pair) != 2 or not all(type(end) in (int, float) and math.isfinite(end) for end in pair):
            raise ValueError(f"value_ranges of {kind!r} must be two numbers; found {str(ends)[:80]}")
        if not pair[0] <= pair[1]:
            raise ValueError(f"value_ranges of {kind!r} must go from black to white; found {pair}")
        found[str(kind)] = (float(pair[0]), float(pair[1]))
    return found


def limits_of(values: npt.NDArray[Any]) -> Range:
    """Return the smallest and the largest finite value.

    Raises:
        ValueError: If there is no finite value.
    """
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
        if not values.size:
            raise ValueError("no finite value in it")
    return float(values.min()), float(values.max())


def is_declared(values: npt.NDArray[Any], declared: Range | None, high: float) -> bool:
    """Return whether a file declares the range of its values: whole numbers above the declared range refute it."""
    return declared is not None and (values.dtype.kind != "u" or high <= declared[1])


def find_range(
    values: npt.NDArray[Any], declared: Range | None, ranges: Ranges, on_guess: Callable[[str, Range], object] | None
) -> Range:
    """Return the range that the file declares, else that of the run, else the guess.

    Args:
        values: The values, of any shape.
        declared: The range that the file declares.
        ranges: The ranges of the run.
        on_guess: A function that is called with the kind of the values and their range if the range is a guess by
            these values alone, and leaves part of what the numbers could hold unused.
    """
    limits = limits_of(values)
    if is_declared(values, declared, limits[1]):
        assert declared is not None
        return declared
    kind = kind_of(values.dtype)
    if kind in ranges:
        return ranges[kind]
    guess = guess_range(kind, *limits)
    if on_guess is not None:
        on_guess(kind, guess)
    return guess


def to_8_bits(values: npt.NDArray[Any], range_: Range) -> npt.NDArray[np.uint8]:
    """Return values as 0..255, rounded. What lies outside the range, and what is not finite, goes to its ends."""
    low, high = range_
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2 and low == 0 and high >= 1:
        # Whole numbers are quicker, and rounded without doubt.
        top = int(high)
        table = (np.arange(2 ** (8 * values.dtype.itemsize), dtype=np.uint32).clip(max=top) * 255 + top // 2) // top
        looked_up: npt.NDArray[np.uint8] = table.astype(np.uint8)[values]
        return looked_up
    numbers = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low).clip(low, high)
    scaled: npt.NDArray[np.uint8] = np.rint((numbers - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    return scaled
