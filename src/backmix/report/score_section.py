"""Make the section of a report on unknown scores: histograms, p-values, curves and their figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from backmix.metrics.chance import p_value_bins
from backmix.pages.words import percent
from backmix.report import plots
from backmix.report.plots import curves
from backmix.report.tested import Tested, Thresholds

MEANING = {
    "AUROC": "how often an unknown image seems stranger than a known one; chance: 0.5",
    "OSCR": "the same, but a known image counts only where it is named right",
    "FPR95": "unknown images accepted at the threshold that accepts 95 % of the known",
    "AUPR, known": "precision and recall in finding known images",
    "AUPR, unknown": "precision and recall in finding unknown images",
}


@dataclass(frozen=True)
class Scores:
    """The content of the section on scores: charts, and figures that need known and unknown images.

    Attributes:
        detector: The name of the detector that decides.
        histogram: The histogram of the unknown scores.
        p_values: The histogram of the p-values; None without a threshold or without known images.
        calibrated: The number of images that the overall threshold was fitted on; None without a threshold.
        roc: The ROC curve; None unless there are known and unknown images.
        oscr: The OSCR curve; None unless there are known and unknown images.
        figures: The name, the value and the meaning of each figure.
    """

    detector: str
    histogram: Markup
    p_values: Markup | None
    calibrated: int | None
    roc: Markup | None
    oscr: Markup | None
    figures: list[tuple[str, str, str]]


def score_section(tested: Tested, thresholds: Thresholds) -> Scores:
    """Return the content of the section on scores."""
    known = tested.known
    threshold = None if thresholds.overall is None else thresholds.overall.threshold
    histogram = plots.score_histogram(tested.scores[known].numpy(), tested.scores[~known].numpy(), threshold)
    p_values = None
    if tested.p_values is not None and known.any():
        sizes = [0 if (own := thresholds.of_class(k)) is None else len(own.scores) for k in range(len(tested.classes))]
        held_out = np.array(sizes, dtype=np.int64)[tested.predicted[known].numpy()]
        p_values = plots.p_value_histogram(p_value_bins(tested.p_values[known].numpy(), held_out))
    figures = tested.figures()
    roc = oscr = None
    lines: list[tuple[str, str, str]] = []
    if figures is not None:
        found = curves(tested.scores[known], tested.correct[known], tested.scores[~known])
        point = None
        if thresholds.overall is not None:
            point = plots.OperatingPoint(
                float(tested.accepted[~known].double().mean()),
                float(tested.accepted[known].double().mean()),
                float(tested.right[known].double().mean()),
            )
        roc = plots.roc_curve(found, point, figures["auroc"])
        oscr = plots.oscr_curve(found, point, figures["oscr"])
        values = {
            "AUROC": f"{figures['auroc']:.3f}",
            "OSCR": f"{figures['oscr']:.3f}",
            "FPR95": percent(figures["fpr95"]),
            "AUPR, known": f"{figures['aupr_in']:.3f}",
            "AUPR, unknown": f"{figures['aupr_out']:.3f}",
        }
        lines = [(name, value, MEANING[name]) for name, value in values.items()]
    calibrated = None if thresholds.overall is None else len(thresholds.overall.scores)
    return Scores(thresholds.detector, histogram, p_values, calibrated, roc, oscr, lines)
