"""The content of the metrics.json of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from backmix.fit.fit_report import FitReport
from backmix.inference.decider import Decider
from backmix.metrics.usefulness import Verdict


def run_metrics(
    report: FitReport,
    test: Mapping[str, Any] | None,
    classifier: Decider,
    *,
    seconds: float,
    unreadable: list[tuple[str, str]],
) -> dict[str, Any]:
    """Return what a training came to, ready for JSON.

    Args:
        report: The result of the training.
        test: The figures on the images kept for a test; None if none are kept.
        classifier: The calibrated classifier.
        seconds: The seconds that everything took.
        unreadable: The (name, reason) of each unreadable image.
    """
    return {
        "verdict": verdict_of(report, test).to_dict(),
        "accept": classifier.accept,
        "held_out_accuracy": report.held_out_accuracy,
        "images": {
            "train": len(report.split.train),
            "held_out": len(classifier.thresholds[classifier.detector].scores),
            "test": test and test["images"]["known"],
        },
        "seconds": round(seconds, 1),
        "unreadable": [{"path": name, "reason": reason} for name, reason in unreadable],
        "history": [asdict(entry) for entry in report.history],
        "test": test,
        "head": report.head and report.head.to_dict(),
        "comparison": report.comparison and asdict(report.comparison),
    }


def verdict_of(report: FitReport, test: Mapping[str, Any] | None) -> Verdict:
    """Return what the test says about the use of a classifier, or, without a test, what the held-out images say."""
    return report.verdict if test is None else Verdict.from_dict(test["verdict"])
