"""Thresholds for single classes, so that a class with high unknown scores is not rejected more often than others."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from backmix.threshold.conformal import ConformalThreshold, min_held_out
from backmix.threshold.default import ACCEPT


def fit_class_thresholds(
    scores: Tensor, predicted: Tensor, num_classes: int, accept: float = ACCEPT
) -> list[ConformalThreshold | None]:
    """Fit one conformal threshold for each predicted class.

    Images are grouped by their predicted class, not by their label, because a new image has no label. The promise of
    `ConformalThreshold` holds within each group: the share of new known images with this predicted class that is
    rejected is at most 1 - accept, in expectation (Mondrian conformal prediction: Vovk, Gammerman and Shafer,
    "Algorithmic learning in a random world", 2005, section 4.5).

    Args:
        scores: (n,) float unknown scores of known images that were held out from training.
        predicted: (n,) int64 likeliest class of each image.
        num_classes: The number of known classes K.
        accept: The share of known images to accept, above 0 and below 1.

    Returns:
        K thresholds. A class with too few held-out images to reject any image (19 are needed to accept 0.95) has None;
        the threshold for all classes is used instead.

    Raises:
        ValueError: If the shapes do not fit, or for the reasons of `ConformalThreshold.fit`.
    """
    if predicted.shape != scores.shape:
        raise ValueError(f"there is one class an image; got {tuple(predicted.shape)} for {tuple(scores.shape)} scores")
    fewest = min_held_out(accept)
    groups = [scores[predicted.to(scores.device) == number] for number in range(num_classes)]
    return [ConformalThreshold.fit(group, accept) if len(group) >= fewest else None for group in groups]


def decide(
    scores: Tensor,
    predicted: Tensor,
    overall: ConformalThreshold,
    by_class: Sequence[ConformalThreshold | None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Decide which images are accepted as known, and give their p-values.

    Args:
        scores: (B,) float unknown scores.
        predicted: (B,) int64 likeliest class of each image.
        overall: The threshold for all classes.
        by_class: One threshold for each class. `overall` decides for a class without one. None: `overall` decides for
            all classes.

    Returns:
        (B,) bool, True for accepted images, and (B,) float64 p-values, both on the CPU.
    """
    accepted, p_values = overall.accept(scores).cpu(), overall.p_value(scores)
    for number, threshold in enumerate(by_class or ()):
        if threshold is not None:
            rows = (predicted == number).cpu().nonzero().flatten()
            group = scores[rows.to(scores.device)]
            accepted[rows], p_values[rows] = threshold.accept(group).cpu(), threshold.p_value(group)
    return accepted, p_values
