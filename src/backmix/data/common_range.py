"""One range for the deep pixels of all photographs of a run, found in a sample of them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

from backmix.data.images import ImageError
from backmix.data.source import ImageSource, Subset
from backmix.data.value_range import Range, Ranges, guess_range

FIRST, MOST = 64, 1000
"""The number of images whose headers are looked at, and, if one is deep, the number whose pixels are looked at."""


@runtime_checkable
class HasRanges(Protocol):
    """An image source whose deep images are read with the ranges that are set here."""

    ranges: dict[str, Range]

    def undeclared_limits(self, i: int) -> tuple[str, float, float] | None:
        """Return kind, smallest and largest value of image i if it is deep and declares no range, else None."""


def use_ranges(source: ImageSource, ranges: Ranges) -> None:
    """Let a source, or the source that it is made from, read deep pixels with the ranges of a run."""
    origin = _origin(source)
    if isinstance(origin, HasRanges):
        origin.ranges = dict(ranges)


def common_ranges(source: ImageSource, positions: Sequence[int] | None = None, *, workers: int = 2) -> dict[str, Range]:
    """Return the range of each kind of deep values that the files of a source leave open.

    It is the guess (see `guess_range`) by the smallest and the largest value of at most `MOST` images, evenly spread.
    A single dark photograph does not show how deep its pixels are; many photographs do.

    Args:
        source: The images.
        positions: The positions of the images to look at; None: all images.
        workers: The number of threads that read images.
    """
    # The positions of a subset are positions in the source that it is made from.
    origin: object = source
    wanted = list(range(len(source)) if positions is None else positions)
    while isinstance(origin, Subset):
        wanted = [int(origin.indices[i]) for i in wanted]
        origin = origin.source
    if not isinstance(origin, HasRanges):
        return {}
    found: dict[str, Range] = {}

    def look(i: int) -> tuple[str, float, float] | None:
        try:
            return origin.undeclared_limits(i)
        except ImageError:  # It is named where the images are read.
            return None

    with ThreadPoolExecutor(max(1, workers)) as pool:
        for most in (FIRST, MOST):
            for kind, low, high in filter(None, pool.map(look, _spread(wanted, most))):
                old = found.get(kind, (low, high))
                found[kind] = (min(low, old[0]), max(high, old[1]))
            if not found:
                break
    return {kind: guess_range(kind, *limits) for kind, limits in found.items()}


def ranges_in_words(ranges: Ranges) -> list[str]:
    """Return a sentence about each range that was guessed."""
    return [
        f"the files do not say which values of their pixels ({kind}) are black and white; judged by all photographs, "
        f"{low:g} is black and {high:g} is white{_bits(kind, low, high)}, here and in every later answer of this run"
        for kind, (low, high) in ranges.items()
    ]


def _bits(kind: str, low: float, high: float) -> str:
    bits = int(high).bit_length()
    return f" ({bits} bits)" if kind.startswith("uint") and low == 0 and high == 2**bits - 1 else ""


def _spread(positions: list[int], most: int) -> list[int]:
    return positions[:: -(-len(positions) // most)] if positions else []


def _origin(source: object) -> object:
    while (inner := getattr(source, "source", None)) is not None:
        source = inner
    return source
