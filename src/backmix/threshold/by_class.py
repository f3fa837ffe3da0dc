"""A threshold for each answer beside the one for all, so that a class stranger than the rest is not rejected more."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from backmix.threshold.conformal import ConformalThreshold, min_held_out
from backmix.threshold.default import ACCEPT


def fit_class_thresholds(
    scores: Tensor, predicted: Tensor, num_classes: int, accept: float = ACCEPT
) -> list[ConformalThreshold | None]:
    """One conformal threshold for each class that the network answers.

    Images are grouped by the class they are taken for, not by their label, since that is all there is to go by at
    prediction. Within each group the promise of `ConformalThreshold` holds: of new known images that are taken for this
    class, at most 1 - accept is rejected in expectation (Mondrian conformal prediction: Vovk, Gammerman and Shafer,
    "Algorithmic learning in a random world", 2005, section 4.5).

    Args:
        scores: (n,) float unknown scores of known images held out from training.
        predicted: (n,) int64 likeliest class of each.
        num_classes: known classes K.
        accept: share of known images to accept, above 0 and below 1.

    Returns:
        K thresholds; None for a class with too few held-out images to reject any (19 are needed to accept 0.95), where
        the threshold for all classes stands in.

    Raises:
        ValueError: for shapes that do not fit, and as in `ConformalThreshold.fit`.
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
    """Whether images are accepted as known, and how strange they are.

    Args:
        scores: (B,) float unknown scores.
        predicted: (B,) int64 likeliest class of each.
        overall: the threshold for all classes.
        by_class: one for each class where those decide; None: `overall` decides.

    Returns:
        (B,) bool accepted and (B,) float64 p-values, on the CPU.
    """
    accepted, p_values = overall.accept(scores).cpu(), overall.p_value(scores)
    for number, threshold in enumerate(by_class or ()):
        if threshold is not None:
            rows = (predicted == number).cpu().nonzero().flatten()
            mine = scores[rows.to(scores.device)]
            accepted[rows], p_values[rows] = threshold.accept(mine).cpu(), threshold.p_value(mine)
    return accepted, p_values
