"""Say how many unknown images a run refuses, beside how many known ones it accepts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backmix.pages.words import plain_percent

UNKNOWN = "How many photos of other things are refused is not known: show it some, backmix report RUN --unknown DATA."


def estimates(metrics: Mapping[str, Any], detector: str) -> dict[float, float]:
    """Return the estimated share of unknown images that is refused, by the share of known ones to accept.

    Args:
        metrics: The content of the run's metrics.json.
        detector: The detector that decides now; an estimate for another one says nothing about it.

    Returns:
        The shares; empty if none were estimated, as for a training of all weights.
    """
    head = metrics.get("head")
    found = head.get("refused") if isinstance(head, Mapping) else None
    if not isinstance(found, Mapping) or found.get("detector") != detector or not isinstance(found.get("at"), Mapping):
        return {}
    shares = {}
    for key, value in found["at"].items():
        try:
            accept = float(key)
        except (TypeError, ValueError):
            continue
        if 0 < accept < 1 and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            shares[accept] = float(value)
    return shares


def estimated_at(shares: Mapping[float, float], accept: float) -> float | None:
    """Return the estimate for a share of known images to accept, between those of the nearest shares; None outside."""
    below = max((key for key in shares if key <= accept), default=None)
    above = min((key for key in shares if key >= accept), default=None)
    if below is None or above is None:
        return None
    part = 0.0 if above == below else (accept - below) / (above - below)
    return (1 - part) * shares[below] + part * shares[above]


def refused_in_words(metrics: Mapping[str, Any], detector: str, accept: float) -> str:
    """Return a sentence on how many photos of other things are refused at a share of known ones to accept.

    Args:
        metrics: The content of the run's metrics.json.
        detector: The detector that decides now.
        accept: The share of known images to accept.
    """
    share = estimated_at(estimates(metrics, detector), accept)
    if share is None:
        return UNKNOWN
    return (
        f"Of photos of other things about {plain_percent(share, padded=False)} are refused, by an estimate: some known "
        "classes were left out in turn and shown as strangers."
    )
