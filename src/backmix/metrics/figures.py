"""Figures of open-set recognition: one function for each figure, exact for equal scores, in O(n log n) time.

Scores are unknown scores: higher = more unknown. A threshold t accepts an image as known if its score is at most t.
There are n known images, and TPR(t) is the accepted share of them. There are m unknown images, and FPR(t) is the
accepted share of them. So "known" is the positive class of TPR and FPR; `aupr_in` and `aupr_out` name their own
positive class.

Scores are torch tensors or numpy arrays of any float dtype, (n,) or (m,); infinite scores are allowed. Only the order
of the scores matters, and pairs are counted in integers, so a million scores have no rounding error. Every function
returns a float in 0..1 and raises ValueError for an empty input, a NaN, or a wrong shape or dtype.

The evaluators behind published tables differ from these definitions on small sets and on equal scores;
`backmix.metrics.variants` contains their definitions.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = Tensor | NDArray[Any]
Side = Literal["left", "right"]


def auroc(known: Array, unknown: Array) -> float:
    """Return the area under the ROC curve: P(unknown scores higher than known) + P(equal) / 2 over all pairs.

    Which class is positive does not matter. The rank form is that of Mann and Whitney (1947).

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
    """
    return _share_of_pairs(*check_scores(known, unknown))


def aupr_in(known: Array, unknown: Array, *, integration: str = "step") -> float:
    """Return the area under the precision-recall curve with known as the positive class (AUIN).

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
        integration: "step" gives the average precision, as scikit-learn's `average_precision_score` does. "trapezoid"
            joins the points of scikit-learn's `precision_recall_curve` by straight lines, as the CSSR and OpenOOD
            evaluators do; this overestimates the area on small sets.

    Raises:
        ValueError: For the reasons of this module, and for another `integration`.
    """
    return _precision_recall_area(*check_scores(known, unknown), integration)


def aupr_out(known: Array, unknown: Array, *, integration: str = "step") -> float:
    """Return the area under the precision-recall curve with unknown as the positive class (AUOUT).

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
        integration: "step" or "trapezoid", see `aupr_in`.

    Raises:
        ValueError: For the reasons of this module, and for another `integration`.
    """
    known, unknown = check_scores(known, unknown)
    return _precision_recall_area(-unknown, -known, integration)


def fpr95(known: Array, unknown: Array, *, tpr: float = 0.95) -> float:
    """Return the share of unknown images accepted at the lowest threshold that accepts at least 95 % of the known.

    Known is the positive class, as in the open-set literature. OpenOOD's figure of the same name has unknown as the
    positive class and is a different number. TNR@TPR95 is one minus this figure.

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
        tpr: The share of known images to accept, above 0 and at most 1. It is used as the exact decimal number that it
            prints as.

    Raises:
        ValueError: For the reasons of this module, and for a share outside its range.
    """
    known, unknown = check_scores(known, unknown)
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr is a share of the known images, above 0 and at most 1; got {tpr}")
    last = math.ceil(known.size * Fraction(str(float(tpr)))) - 1
    threshold = np.partition(known, last)[last]
    return float(np.count_nonzero(unknown <= threshold) / unknown.size)


def detection_accuracy(known: Array, unknown: Array) -> float:
    """Return the largest (TPR + 1 - FPR) / 2 over all thresholds (DTACC), 0.5..1.

    Args:
        known: (n,) unknown scores of known images.
        unknown: (m,) unknown scores of unknown images.
    """
    known, unknown = check_scores(known, unknown)
    known = np.sort(known)
    # A threshold between two known scores only accepts more unknown images. Among equal known scores, the last one
    # has the count of all of them.
    accepted_known = np.arange(1, known.size + 1) / known.size
    accepted_unknown = np.searchsorted(np.sort(unknown), known, "right") / unknown.size
    return float((accepted_known + 1 - accepted_unknown).max() / 2)


def oscr(known: Array, correct: Array, unknown: Array) -> float:
    """Return the open-set classification rate (OSCR), an area under a curve over FPR.

    The curve shows the share of known images that are both accepted and classified correctly (Dhamija et al., NeurIPS
    2018). It ends at the closed-set accuracy, so its area is never above that accuracy. If every known image is
    classified correctly, the area is the AUROC. In rank form, where equal scores count half, it is
    `sum over correct known i and unknown j of ([u_j > u_i] + [u_j = u_i] / 2) / (n m)`.

    Args:
        known: (n,) unknown scores of known images.
        correct: (n,) bool, whether each known image is classified correctly.
        unknown: (m,) unknown scores of unknown images.
    """
    known, unknown = check_scores(known, unknown)
    correct = check_mask(correct, known.size, "correct")
    hits = np.count_nonzero(correct)
    return float(_share_of_pairs(known[correct], unknown) * (hits / known.size)) if hits else 0.0


def open_set_metrics(known: Array, correct: Array, unknown: Array) -> dict[str, float]:
    """Return all figures that need no threshold: auroc, aupr_in, aupr_out, fpr95, detection_accuracy, oscr.

    Args:
        known: (n,) unknown scores of known images.
        correct: (n,) bool, whether each known image is classified correctly.
        unknown: (m,) unknown scores of unknown images.
    """
    return {
        "auroc": auroc(known, unknown),
        "aupr_in": aupr_in(known, unknown),
        "aupr_out": aupr_out(known, unknown),
        "fpr95": fpr95(known, unknown),
        "detection_accuracy": detection_accuracy(known, unknown),
        "oscr": oscr(known, correct, unknown),
    }


def closed_accuracy(predictions: Array, labels: Array) -> float:
    """Return the share of known images that are classified correctly, before any rejection.

    Args:
        predictions: (n,) integer predicted classes.
        labels: (n,) integer true classes. None is -1, because unknown images have no correct class here.

    Raises:
        ValueError: For the reasons of this module, and for a label of -1.
    """
    predictions, labels = _known_labels(predictions, labels)
    return float(np.count_nonzero(predictions == labels) / labels.size)


def accuracy_with_rejection(predictions: Array, labels: Array, accepted: Array) -> float:
    """Return the share of known images that are both classified correctly and accepted (`closeacc_withrej` of CSSR).

    Args:
        predictions: (n,) integer predicted classes, before rejection.
        labels: (n,) integer true classes, none of them -1.
        accepted: (n,) bool, whether each image is accepted.

    Raises:
        ValueError: For the reasons of this module, and for a label of -1.
    """
    predictions, labels = _known_labels(predictions, labels)
    accepted = check_mask(accepted, labels.size, "accepted")
    return float(np.count_nonzero((predictions == labels) & accepted) / labels.size)


def macro_f1(predictions: Array, labels: Array) -> float:
    """Return the mean F1 over the known classes and "unknown", which counts as one more class (K + 1 classes).

    The mean is over the classes that occur among the labels or the predictions, as in scikit-learn's
    `f1_score(average="macro")`. A class that occurs only among the predictions counts 0; a class that occurs in neither
    is left out.

    Args:
        predictions: (n,) integer predicted classes, -1 for images rejected as unknown.
        labels: (n,) integer true classes, -1 for unknown images.

    Raises:
        ValueError: For the reasons of this module, and for a class below -1.
    """
    predictions, labels = _labels(predictions, labels)
    classes, index = np.unique(np.concatenate([predictions, labels]), return_inverse=True)
    predicted, true = index[: labels.size], index[labels.size :]
    hits = np.bincount(true[predicted == true], minlength=classes.size)
    return float((2 * hits / np.bincount(index, minlength=classes.size)).mean())


def check_scores(known: Array, unknown: Array) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the scores of known (n,) and unknown (m,) images as numpy arrays of one float dtype.

    Raises:
        ValueError: If an input is empty, contains NaN, or has a wrong shape or dtype.
    """
    pair = [_score_array(known, "known"), _score_array(unknown, "unknown")]
    dtype = np.result_type(*pair, np.float32)
    return pair[0].astype(dtype, copy=False), pair[1].astype(dtype, copy=False)


def check_mask(mask: Array, size: int, name: str) -> NDArray[np.bool_]:
    """Return a mask (size,) bool as a numpy array.

    Raises:
        ValueError: If the mask has a wrong shape or dtype; the message contains `name`.
    """
    array = _as_numpy(mask)
    if array.shape != (size,) or array.dtype != np.bool_:
        raise ValueError(f"{name} must be ({size},) bool, one for each known image; got {array.shape} {array.dtype}")
    return array


def _share_of_pairs(known: NDArray[Any], unknown: NDArray[Any]) -> float:
    # Searching for sorted values is several times faster than for unsorted ones; it saves more than sorting costs.
    known, unknown = np.sort(known), np.sort(unknown)
    below = int(np.searchsorted(unknown, known, "left").sum())
    not_above = int(np.searchsorted(unknown, known, "right").sum())
    pairs = known.size * unknown.size
    return (2 * pairs - below - not_above) / (2 * pairs)


def _precision_recall_area(positive: NDArray[Any], negative: NDArray[Any], integration: str) -> float:
    """Return the area if positives score low: each positive is one step of recall with width 1 / positive.size."""
    if integration not in ("step", "trapezoid"):
        raise ValueError(f'integration is "step" or "trapezoid"; got {integration!r}')
    positive, negative = np.sort(positive), np.sort(negative)

    def precision(side: Side) -> NDArray[np.float64]:
        """Return the precision before ("left") or after ("right") each positive's score is accepted; 1 if none is."""
        hits = np.searchsorted(positive, positive, side)
        accepted = hits + np.searchsorted(negative, positive, side)
        share: NDArray[np.float64] = np.divide(hits, accepted, out=np.ones(positive.size), where=accepted > 0)
        return share

    after = precision("right")
    return float(after.mean() if integration == "step" else (precision("left") + after).mean() / 2)


def _as_numpy(values: Array) -> NDArray[Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        # numpy has no bfloat16 and no eight-bit floats. float32 holds all their values exactly.
        if values.is_floating_point() and values.dtype != torch.float64:
            values = values.float()
        return values.numpy()
    return np.asarray(values)


def _score_array(values: Array, name: str) -> NDArray[Any]:
    array = _as_numpy(values)
    if array.ndim != 1 or array.dtype.kind != "f":
        raise ValueError(
            f"scores of {name} images must be one float each, in one dimension; got {array.shape} {array.dtype}"
        )
    if not array.size:
        raise ValueError(f"there are no scores of {name} images: at least one is needed")
    missing = int(np.isnan(array).sum())
    if missing:
        raise ValueError(f"{missing} of {array.size} scores of {name} images are NaN: look for the images they are of")
    return array


def _labels(predictions: Array, labels: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    arrays = []
    for name, values in (("predictions", predictions), ("labels", labels)):
        array = _as_numpy(values)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(f"{name} must be one integer class for each image; got {array.shape} {array.dtype}")
        array = array.astype(np.int64, copy=False)
        if array.size and array.min() < -1:
            raise ValueError(f"{name} are classes from 0 on, or -1 for unknown; found {array.min()}")
        arrays.append(array)
    if arrays[0].size != arrays[1].size:
        raise ValueError(f"there must be one prediction a label; got {arrays[0].size} and {arrays[1].size}")
    if not arrays[1].size:
        raise ValueError("there are no labels: at least one image is needed")
    return arrays[0], arrays[1]


def _known_labels(predictions: Array, labels: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    found, true = _labels(predictions, labels)
    unknown = int(np.count_nonzero(true < 0))
    if unknown:
        raise ValueError(f"{unknown} of {true.size} labels are -1 (unknown): give known images alone")
    return found, true
