"""Choose the unknown score that separates example unknowns best from known images."""

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
    """Choose the detector that separates example unknowns best from held-out known images, by AUROC.

    Args:
        classifier: A trained classifier.
        known: Images of known classes that were not trained on.
        unknown: Examples of unknown classes. Images of known classes among them are left out.
        names: The detectors to choose from. Detectors that are not available for this classifier are left out.
        workers: The number of threads that decode images.

    Returns:
        A dictionary of `detector`, the name of the best one (the first of several equally good ones); `auroc`, the
        AUROC by name; `images`, the number of examples; `left_out`, the reasons why detectors have no figure.

    Raises:
        DataError: If no example or no image of a known class is left.
        ValueError: If no detector is left.
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
