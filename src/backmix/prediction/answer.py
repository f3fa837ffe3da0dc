"""What is answered for one image."""

from __future__ import annotations

from dataclasses import dataclass, field

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        path: the file, or the number of the image.
        label: class name or "unknown"; None when the image could not be read.
        unknown_score: higher = more unknown.
        p_value: share of held-out known images at least as strange as this one (conformal); small = unknown.
        top: the likeliest known classes with their softmax probability.
        error: why the image could not be read.
    """

    path: str
    label: str | None = None
    unknown_score: float | None = None
    p_value: float | None = None
    top: list[tuple[str, float]] = field(default_factory=list)
    error: str | None = None
