"""Choose the share of known images to accept, by the number of images that are held out for the threshold."""

from __future__ import annotations

from torch import Tensor

from backmix.data.split import divide
from backmix.errors import DataError
from backmix.fit.data import FitData
from backmix.inference.decider import Decider
from backmix.threshold.conformal import min_held_out, most_accepted
from backmix.threshold.default import ACCEPT


def count_held_out(data: FitData, classifier: Decider, known: Tensor, seed: int) -> int:
    """Return the number of images that a training will hold out to fit the threshold on.

    Args:
        data: The data of the training.
        classifier: The classifier that is to be trained.
        known: (N,) int64, the known class of each image of the source, -1 for others.
        seed: The seed of the division.

    Raises:
        DataError: If a known class has too few images.
    """
    if data.held_out is not None:
        return int((classifier.labels_for(data.held_out) >= 0).sum())
    return len(divide(known, data.classes, True, data.holdout, data.test_share, data.groups, seed).held)


def choose_accept(asked: float | None, held_out: int) -> float:
    """Return the share of known images to accept.

    It depends on the number of held-out images and not on their scores, so the promise of the threshold stays exact.

    Args:
        asked: The share that a person asked for; None: the usual share, or a smaller one if the images allow no more.
        held_out: The number of held-out images, at least 1.

    Raises:
        DataError: If the share that was asked for takes more images. The message says which share they allow.
    """
    if asked is None:
        return min(ACCEPT, most_accepted(held_out))
    needed = min_held_out(asked)
    if held_out < needed:
        raise DataError(
            f"--accept {asked:.10g} takes {needed} photos held out to set the threshold, and these come to {held_out}, "
            f"which allow {most_accepted(held_out):g} at most: with more than that nothing would ever be called "
            f"unknown. Take --accept {most_accepted(held_out):g}, hold out more (--holdout 0.4), or add photos."
        )
    return asked


def accept_in_words(accept: float, held_out: int) -> list[str]:
    """Return a sentence that says before the training that the usual share cannot be had; none if it can."""
    if accept >= ACCEPT or accept < most_accepted(held_out):
        return []
    return [
        f"only {held_out} photos are held out to set the threshold: it will accept {100 * accept:.3g} % of photos of "
        f"known classes and not {100 * ACCEPT:.3g} %, which takes {min_held_out(ACCEPT)}. More photos help, or "
        "--holdout 0.4."
    ]


def keep_in_reach(classifier: Decider) -> None:
    """Lower the share of a calibrated classifier to what its held-out images allow, where some were unreadable."""
    threshold = classifier.thresholds[classifier.detector]
    if threshold.note is not None:
        classifier.set_accept(most_accepted(len(threshold.scores)))
