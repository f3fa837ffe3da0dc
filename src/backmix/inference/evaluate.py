"""Compute the figures of a classifier on a test set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from backmix.data.source import ImageSource
from backmix.detectors import DETECTORS, METHOD, OURS, check_name
from backmix.inference.evaluation import figures, own_answers

if TYPE_CHECKING:
    from backmix.inference.decider import Decider


def evaluate(
    classifier: Decider,
    source: ImageSource,
    detectors: Sequence[str] | None,
    *,
    workers: int = 2,
    on_images: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Return the figures of a classifier on a test set, see `Decider.evaluate`."""
    asked = [name for name in detectors or () if name != "all"]
    for name in asked:
        check_name(name)
    names = asked if detectors else list(dict.fromkeys([METHOD, *OURS, classifier.detector]))
    if detectors and "all" in detectors:
        names = [METHOD, *DETECTORS]
    optional = [name for name in names if name not in asked]
    outputs, scores, left_out = classifier.scores(
        source, names, optional=optional, workers=workers, on_images=on_images
    )
    own = own_answers(
        outputs.response, {name: None if name == METHOD else classifier.ready_detector(name) for name in scores}
    )
    accepted = {
        name: threshold.accept(scores[name]) for name, threshold in classifier.thresholds.items() if name in scores
    }
    if classifier.detector in accepted:
        accepted[classifier.detector] = classifier.decide(scores[classifier.detector], outputs.logits.argmax(1))[0]
    result = figures(outputs, scores, accepted, own)
    result["unreadable"] = [{"path": name, "reason": reason} for name, reason in outputs.skipped]
    result["left_out"] = left_out
    return result
