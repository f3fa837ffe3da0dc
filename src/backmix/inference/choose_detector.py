"""Which unknown score tells example unknowns apart best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backmix import metrics
from backmix.data.source import ImageSource
from backmix.errors import DataError
from backmix.inference.decider import Decider


def choose_detector(
    classifier: Decider,
    known: ImageSource,
    unknown: ImageSource,
    names: Sequence[str],
    *,
    workers: int = 2,
) -> dict[str, Any]:
    """Which of several detectors tells example unknowns best from held-out known images, by AUROC.

    Args:
        classifier: a trained one.
        known: images of known classes that were not trained on.
        unknown: examples of no known class; those of known classes are left out.
        names: detectors to choose from; those that cannot be had here are left out.
        workers: threads that decode.

    Returns:
        `detector`, the best one, the first of several that are as good; `auroc` by name; `images`, how many examples;
        `left_out`, why some have no figure.

    Raises:
        DataError: when no example is left.
        ValueError: when no detector is.
    """
    labels = classifier.labels_for(unknown)
    strange = (labels < 0).nonzero().flatten().tolist()
    if not strange:
        raise DataError(
            "none of the example unknowns is of another class than the known ones: a folder of them has folders of "
            "other names inside"
        )
    ours = classifier.labels_for(known)
    familiar = (ours >= 0).nonzero().flatten().tolist()
    if not familiar:
        raise DataError("no image of a known class to choose a detector by")
    low, high = (
        classifier.scores(source, names, positions=rows, optional=names, workers=workers)
        for source, rows in ((known, familiar), (unknown, strange))
    )
    left_out = low[2] | high[2]
    auroc = {name: metrics.auroc(low[1][name], high[1][name]) for name in names if name not in left_out}
    if not auroc:
        raise ValueError(f"no detector to choose from: {'; '.join(left_out.values())}")
    best = max(auroc, key=lambda name: auroc[name])
    return {"detector": best, "auroc": auroc, "images": len(strange), "left_out": left_out}
