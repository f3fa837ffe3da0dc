"""Estimate without unknown images how many of them a threshold refuses: by known classes left out in turn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from backmix.fit.leave_classes_out import FOLDS, PAIRS, SINGLE, fold_scores
from backmix.fit.logistic import Regression
from backmix.fit.threads import in_threads
from backmix.metrics.acceptance import SHARES, refused_at

LEAST_CLASSES = 3  # A head on the classes that are left needs two of them.
FEW = 500  # Of so few images every one serves as a new image once, so that small sets have enough of them.


@dataclass(frozen=True)
class Refused:
    """An estimate of how many unknown images are refused, see `estimate_refused`.

    Attributes:
        detector: The unknown score that decides.
        at: The estimated share, by the share of known images to accept.
    """

    detector: str
    at: dict[float, float]


def estimate_refused(
    regression: Regression,
    features: Tensor,
    strength: float,
    image_folds: Tensor,
    num_classes: int,
    detector: str,
    generator: torch.Generator,
    shares: Iterable[float] = SHARES,
) -> dict[float, float]:
    """Return the estimated share of unknown images that is refused, by the share of known images to accept.

    The known classes are divided into folds. For each, a head is fitted on images of the other classes, a threshold on
    images of those classes that the head did not see, and the images of the fold's classes are the unknown ones. The
    figures are rough: heads that see fewer classes are a little worse, and what comes later may resemble the known
    classes more than they resemble one another, or less.

    Args:
        regression: The logistic regressions on the features.
        features: (N, C) float32, the features of training images.
        strength: The strength of the regressions.
        image_folds: (N,) int64, the fold in which each image is left out, see `backmix.fit.logistic.make_folds`.
        num_classes: The number of known classes.
        detector: The name of the unknown score.
        generator: The source of randomness; it divides the classes.
        shares: The shares of known images to accept.

    Returns:
        The mean over the folds, 0..1. It is empty with fewer than `LEAST_CLASSES` classes, or for a score that is not
        computed on features. Shares that no fold has enough images for are left out.
    """
    numbers = sorted({fold for fold in image_folds.tolist() if fold >= 0})
    if num_classes < LEAST_CLASSES or len(numbers) < 2 or detector not in (*SINGLE, *PAIRS):
        return {}
    count = min(FOLDS, num_classes)
    order = torch.randperm(num_classes, generator=generator)
    every = len(features) <= FEW

    def measured(fold: int) -> dict[float, float]:
        left_out = order[fold::count]
        fresh, strange = [], []
        for number in numbers if every else [numbers[fold % len(numbers)]]:
            found = fold_scores(regression, features, strength, image_folds, left_out, number, detector)
            if found is not None:
                fresh.append(found[0])
                strange.append(found[1])
        return refused_at(torch.cat(fresh), torch.cat(strange), shares) if fresh else {}

    found = in_threads(measured, list(range(count)))
    means = {}
    for share in shares:
        values = [each[share] for each in found if share in each]
        if values:
            means[share] = sum(values) / len(values)
    return means
