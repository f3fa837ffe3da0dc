"""Figures of open-set recognition, their variants in published code, and statistical intervals for them."""

from backmix.metrics.figures import (
    accuracy_with_rejection,
    aupr_in,
    aupr_out,
    auroc,
    closed_accuracy,
    detection_accuracy,
    fpr95,
    macro_f1,
    open_set_metrics,
    oscr,
)

__all__ = [
    "accuracy_with_rejection",
    "aupr_in",
    "aupr_out",
    "auroc",
    "closed_accuracy",
    "detection_accuracy",
    "fpr95",
    "macro_f1",
    "open_set_metrics",
    "oscr",
]
