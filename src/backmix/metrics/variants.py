"""Figures as the evaluators behind published tables compute them, for replaying those tables alone.

They differ from `backmix.metrics` by how they treat equal scores and the ends of a curve: by percents on a dozen
images, by less than 0.0002 on thousands without ties. Inputs, dtypes and errors are as in `backmix.metrics`: unknown
scores, higher = more unknown.

`_arpl` is the evaluator of ARPL (Chen et al., TPAMI 2022), which many open-set releases share. It steps through the
images one by one, so among equal scores it accepts unknown images first. `_cssr` is that of CSSR (Huang et al.,
TPAMI 2022); its precision-recall areas are `aupr_in` and `aupr_out` with `integration="trapezoid"`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backmix.metrics.figures import Array, check_mask, check_scores


def auroc_arpl(known: Array, unknown: Array) -> float:
    """Share of pairs in which the unknown image scores strictly higher: equal scores count nothing.

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
    """
    known, unknown = check_scores(known, unknown)
    above = unknown.size - np.searchsorted(np.sort(unknown), np.sort(known), "right")
    return int(above.sum()) / (known.size * unknown.size)


def aupr_in_arpl(known: Array, unknown: Array) -> float:
    """Precision-recall area with known positive: trapezoids through every image, from precision 0 at recall 0.

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
    """
    return _area_image_by_image(_unknown_first(*check_scores(known, unknown)))


def aupr_out_arpl(known: Array, unknown: Array) -> float:
    """Precision-recall area with unknown positive: the steps of `aupr_in_arpl` walked back from the other end.

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
    """
    return _area_image_by_image(~_unknown_first(*check_scores(known, unknown))[::-1])


def fpr95_cssr(known: Array, unknown: Array, *, tpr: float = 0.95) -> float:
    """Share of unknown images accepted at the threshold whose share of accepted known images is nearest to `tpr`.

    `backmix.metrics.fpr95` takes the first that reaches it. Of two equally near ones this is the stricter.

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
        tpr: share of known images, 0..1.

    Raises:
        ValueError: also for a share outside 0..1.
    """
    known, unknown = check_scores(known, unknown)
    if not 0 <= tpr <= 1:
        raise ValueError(f"tpr is a share of the known images, 0..1; got {tpr}")
    thresholds, counts = np.unique(known, return_counts=True)
    accepted = np.concatenate([[0.0], np.cumsum(counts) / known.size])
    nearest = int(np.abs(accepted - tpr).argmin())
    return float(np.count_nonzero(unknown <= thresholds[nearest - 1]) / unknown.size) if nearest else 0.0


def oscr_arpl(known: Array, correct: Array, unknown: Array) -> float:
    """OSCR with one point for each image, from most unknown to most known.

    A point counts the correct known images strictly after its image and the unknown ones from it on; that of the
    last image is left at (0, 0). (0, 0) and (1, 1) are added, though the curve ends at the accuracy. Trapezoids in
    the order of FPR, then of the rate.

    Args:
        known: (n,) unknown scores of known images.
        correct: (n,) bool, whether each is classified right.
        unknown: (m,) unknown scores of unknown images.
    """
    known, unknown = check_scores(known, unknown)
    correct = check_mask(correct, known.size, "correct")
    from_most_unknown = np.argsort(-np.concatenate([known, unknown]), kind="stable")
    is_hit = np.concatenate([correct, np.zeros(unknown.size, bool)])[from_most_unknown]
    is_unknown = np.concatenate([np.zeros(known.size, bool), np.ones(unknown.size, bool)])[from_most_unknown]
    hits_after = np.cumsum(is_hit[::-1])[::-1] - is_hit
    unknown_from = np.cumsum(is_unknown[::-1])[::-1]
    rate = np.concatenate([hits_after[:-1] / known.size, [0.0, 0.0, 1.0]])
    fpr = np.concatenate([unknown_from[:-1] / unknown.size, [0.0, 0.0, 1.0]])
    order = np.lexsort((rate, fpr))
    return _trapezoids(rate[order], fpr[order])


def oscr_cssr(known: Array, correct: Array, unknown: Array) -> float:
    """OSCR with a threshold at every score, accepting what scores strictly below it.

    (0, 0) and (1, 1) are added, though the curve ends at the accuracy: too much by at most (1 - accuracy) / (2 m)
    without ties.

    Args:
        known: (n,) unknown scores of known images.
        correct: (n,) bool, whether each is classified right.
        unknown: (m,) unknown scores of unknown images.
    """
    known, unknown = check_scores(known, unknown)
    correct = check_mask(correct, known.size, "correct")
    thresholds = np.sort(np.concatenate([known, unknown]))
    rate = np.searchsorted(np.sort(known[correct]), thresholds) / known.size
    fpr = np.searchsorted(np.sort(unknown), thresholds) / unknown.size
    return _trapezoids(np.concatenate([[0.0], rate, [1.0]]), np.concatenate([[0.0], fpr, [1.0]]))


def _unknown_first(known: NDArray[Any], unknown: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each image is known (n + m,), from the most known on, unknown before known among equal scores."""
    order = np.argsort(np.concatenate([unknown, known]), kind="stable")
    is_known: NDArray[np.bool_] = order >= unknown.size
    return is_known


def _area_image_by_image(positive: NDArray[np.bool_]) -> float:
    hits = np.cumsum(positive)
    precision = np.concatenate([[0.0], hits / np.arange(1, positive.size + 1)])
    recall = np.concatenate([[0.0], hits / hits[-1]])
    return _trapezoids(precision, recall)


def _trapezoids(height: NDArray[np.float64], at: NDArray[np.float64]) -> float:
    return float(((height[1:] + height[:-1]) * np.diff(at)).sum() / 2)
