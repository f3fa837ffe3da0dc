"""The answer for one image."""

from __future__ import annotations

from dataclasses import dataclass, field

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        path: The path of the image file, or the number of the image.
        label: The class name or "unknown"; None if the image could not be read.
        unknown_score: The unknown score; higher = more unknown.
        p_value: The conformal p-value: the share of held-out known images whose score is at least as high; small =
            unknown.
        top: The likeliest known classes with their softmax probabilities.
        error: The reason why the image could not be read; None if it was read.
    """

    path: str
    label: str | None = None
    unknown_score: float | None = None
    p_value: float | None = None
    top: list[tuple[str, float]] = field(default_factory=list)
    error: str | None = None
