"""A figure with its interval as a bar on a track, drawn by the style sheet, and the same in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Track:
    """Places in percent of the track's length.

    Attributes:
        kind: "own" or "other" background, or "none".
        start: where the bar begins.
        length: of the bar.
        low: where the interval begins.
        spread: its length.
        mark: a figure to compare with, None for none.
        zero: where 0 is, None where it is the left end.
        words: all of it, for those who do not see it.
    """

    kind: str
    start: float
    length: float
    low: float
    spread: float
    mark: float | None
    zero: float | None
    words: str


def track(
    of: Mapping[str, float],
    words: str,
    *,
    kind: str = "own",
    scale: tuple[float, float] = (0.0, 1.0),
    mark: float | None = None,
) -> Track:
    """A figure on a scale.

    Args:
        of: `value`, `low` and `high`.
        words: what it is, with its numbers.
        kind: see `Track`.
        scale: the ends of the track, the first at most 0 and the second above; what lies beyond is cut.
        mark: a figure to compare with.
    """
    low, high = scale

    def place(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 2)

    start, end = sorted((place(0), place(of["value"])))
    first, last = place(of["low"]), place(of["high"])
    return Track(
        kind,
        start,
        round(end - start, 2),
        first,
        round(last - first, 2),
        None if mark is None else place(mark),
        place(0) if low < 0 else None,
        words,
    )


def common_scale(figures: list[Mapping[str, float]]) -> tuple[float, float]:
    """Ends of a track that all figures fit on: from 0 or below to 1 at most, as wide as is needed."""
    low = min([0.0, *(of["low"] for of in figures)])
    high = max([0.1, *(of["high"] for of in figures)])
    return low, high
