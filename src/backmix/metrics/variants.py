"""Figures as the evaluators behind published tables compute them. Use them only to reproduce those tables.

They treat equal scores and the ends of a curve differently from `backmix.metrics`. The difference is some percent on a
dozen images, and less than 0.0002 on thousands of images without equal scores. Inputs, dtypes and errors are the same
as in `backmix.metrics`: unknown scores, higher = more unknown.

Names that end in `_arpl` follow the evaluator of ARPL (Chen et al., TPAMI 2022), which many open-set releases share. It
steps through the images one by one, and among equal scores it accepts unknown images first. Names that end in `_cssr`
follow the evaluator of CSSR (Huang et al., TPAMI 2022). The precision-recall areas of CSSR are `aupr_in` and `aupr_out`
with `integration="trapezoid"`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backmix.metrics.figures import Array, check_mask, check_scores


def auroc_arpl(known: Array, unknown: Array) -> float:
    """Return the share of pairs in which the unknown image scores strictly higher; equal scores count nothing.

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
    """
    known, unknown = check_scores(known, unknown)
    above = unknown.size - np.searchsorted(np.sort(unknown), np.sort(known), "right")
    return int(above.sum()) / (known.size * unknown.size)


def aupr_in_arpl(known: Array, unknown: Array) -> float:
    """Return the precision-recall area with known as the positive class.

    The area consists of trapezoids with one point for each image, and begins with precision 0 at recall 0.

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
    """
    return _area_image_by_image(_unknown_first(*check_scores(known, unknown)))


def aupr_out_arpl(known: Array, unknown: Array) -> float:
    """Return the precision-recall area with unknown as the positive class.

    It takes the images of `aupr_in_arpl` in the reverse order.

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
    """
    return _area_image_by_image(~_unknown_first(*check_scores(known, unknown))[::-1])


def fpr95_cssr(known: Array, unknown: Array, *, tpr: float = 0.95) -> float:
    """Return the share of unknown images accepted at the threshold whose TPR is nearest to `tpr`.

    If two thresholds are equally near, the stricter one is used. `backmix.metrics.fpr95` uses the lowest threshold that
    reaches `tpr` instead.

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
        tpr: The share of known images to accept, 0..1.

    Raises:
        ValueError: For the reasons of `backmix.metrics`, and for a share outside 0..1.
    """
    known, unknown = check_scores(known, unknown)
    if not 0 <= tpr <= 1:
        raise ValueError(f"tpr is a share of the known images, 0..1; got {tpr}")
    thresholds, counts = np.unique(known, return_counts=True)
    accepted = np.concatenate([[0.0], np.cumsum(counts) / known.size])
    nearest = int(np.abs(accepted - tpr).argmin())
    return float(np.count_nonzero(unknown <= thresholds[nearest - 1]) / unknown.size) if nearest else 0.0


def oscr_arpl(known: Array, correct: Array, unknown: Array) -> float:
    """Return the OSCR with one point for each image, from the most unknown to the most known image.

    The point of an image counts the correct known images strictly after it, and the unknown images from it on. The
    point of the last image is (0, 0). The points (0, 0) and (1, 1) are added, although the curve ends at the accuracy.
    The area consists of trapezoids between the points, sorted by FPR and then by the rate.

    Args:
        known: (n,) unknown scores of known images.
        correct: (n,) bool, whether each known image is classified correctly.
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
    """Return the OSCR with a threshold at every score, which accepts images that score strictly below it.

    The points (0, 0) and (1, 1) are added, although the curve ends at the accuracy. Without equal scores, the area is
    too large by at most (1 - accuracy) / (2 m).

    Args:
        known: (n,) unknown scores of known images.
        correct: (n,) bool, whether each known image is classified correctly.
        unknown: (m,) unknown scores of unknown images.
    """
    known, unknown = check_scores(known, unknown)
    correct = check_mask(correct, known.size, "correct")
    thresholds = np.sort(np.concatenate([known, unknown]))
    rate = np.searchsorted(np.sort(known[correct]), thresholds) / known.size
    fpr = np.searchsorted(np.sort(unknown), thresholds) / unknown.size
    return _trapezoids(np.concatenate([[0.0], rate, [1.0]]), np.concatenate([[0.0], fpr, [1.0]]))


def _unknown_first(known: NDArray[Any], unknown: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (n + m,) bool, whether each image is known, by ascending score; among equal scores unknown come first."""
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
