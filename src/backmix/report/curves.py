"""Points of the curves of a report: ROC and OSCR."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backmix.metrics.figures import Array, check_mask, check_scores


@dataclass(frozen=True)
class Curves:
    """Shares accepted as the threshold rises, all (T,) float64 in 0..1, from none to all.

    Attributes:
        unknown: of the unknown images, the horizontal axis of both curves.
        known: of the known images: ROC.
        right: of the known images, accepted and named right: OSCR.
    """

    unknown: NDArray[np.float64]
    known: NDArray[np.float64]
    right: NDArray[np.float64]


def curves(known: Array, correct: Array, unknown: Array) -> Curves:
    """ROC and OSCR points, one for each score that occurs.

    Equal scores are one step of the threshold, so that the straight lines between points hold the areas that
    `backmix.metrics.auroc` and `oscr` give.

    Args:
        known: (n,) unknown scores of known images.
        correct: (n,) bool, whether each is classified right.
        unknown: (m,) unknown scores of unknown images.
    """
    inside, outside = check_scores(known, unknown)
    right = check_mask(correct, inside.size, "correct")
    steps = np.unique(np.concatenate([inside, outside]))

    def accepted(scores: NDArray[np.float64], total: int) -> NDArray[np.float64]:
        return np.concatenate([[0.0], np.searchsorted(np.sort(scores), steps, "right") / total])

    return Curves(accepted(outside, outside.size), accepted(inside, inside.size), accepted(inside[right], inside.size))


def thinned(x: NDArray[np.float64], y: NDArray[np.float64], most: int = 300) -> NDArray[np.float64]:
    """Points (P, 2) of a rising curve that stand for all of them: corners stay, at most about `most` are kept."""
    points = np.stack([x, y], 1)
    if len(points) > 2:
        # In the middle of a straight line a point adds nothing.
        before, after = np.diff(points[:-1], axis=0), np.diff(points[1:], axis=0)
        bends = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-12
        points = points[np.concatenate([[True], bends, [True]])]
    if len(points) <= most:
        return points
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(points, axis=0)).sum(1))])
    chosen = np.searchsorted(way, np.linspace(0, way[-1], most))
    rows = np.unique(np.concatenate([[0], np.minimum(chosen, len(points) - 1), [len(points) - 1]]))
    return np.asarray(points[rows], dtype=np.float64)
