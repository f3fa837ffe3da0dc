"""What a share of known images to accept costs: how many unknown images are refused at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from backmix.threshold.conformal import ConformalThreshold, most_accepted

SHARES = (0.8, 0.9, 0.95, 0.99)
"""The shares of known images to accept that tables show."""


@dataclass(frozen=True)
class AtShare:
    """What a threshold for one share of known images does to other images.

    Attributes:
        accept: The share of known images to accept.
        accepted: The share of known images that were accepted, 0..1; None if there were none, or if too few images were
            held out for a threshold.
        refused: The share of unknown images that were refused, 0..1; None for the same reasons.
    """

    accept: float
    accepted: float | None
    refused: float | None


def acceptance_table(
    held_out: Tensor, known: Tensor, unknown: Tensor, shares: Iterable[float] = SHARES
) -> list[AtShare]:
    """Return what thresholds for several shares, fitted on the same held-out images, do to other images.

    Args:
        held_out: (n,) float, the unknown scores of the known images that were held out for the threshold.
        known: (m,) float, the unknown scores of other known images.
        unknown: (k,) float, the unknown scores of unknown images.
        shares: The shares of known images to accept.
    """
    rows = []
    for share in sorted(set(shares)):
        if share > most_accepted(len(held_out)):
            rows.append(AtShare(share, None, None))
            continue
        threshold = ConformalThreshold.fit(held_out, share)
        accepted, passed = (float(threshold.accept(of).double().mean()) if len(of) else None for of in (known, unknown))
        rows.append(AtShare(share, accepted, None if passed is None else 1 - passed))
    return rows


def refused_at(held_out: Tensor, unknown: Tensor, shares: Iterable[float] = SHARES) -> dict[float, float]:
    """Return the share of unknown images that is refused, by the share of known images to accept.

    Shares that the held-out images do not allow are left out.

    Args:
        held_out: (n,) float, the unknown scores of known images, at least one.
        unknown: (k,) float, the unknown scores of unknown images, at least one.
        shares: The shares of known images to accept.
    """
    rows = acceptance_table(held_out, unknown[:0], unknown, shares)
    return {row.accept: row.refused for row in rows if row.refused is not None}
