"""Estimators of the foreground. They use the picture alone: no labels, and no network that is being trained.

`FOREGROUND_SOURCES["saliency"]()` makes an estimator with `estimate(picture)` and `saliency(picture)`. `EstimatedMasks`
gives its estimates in place of true masks, so every function that takes true masks takes these. The estimators need
more packages, `pip install "backmix[foregrounds]"`, and import them when they are made. To add an estimator, write its
file and name it in `FOREGROUND_SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable

from backmix.foregrounds.attention import AttentionForeground
from backmix.foregrounds.base import ForegroundSource, Segmentation
from backmix.foregrounds.estimated import EstimatedMasks
from backmix.foregrounds.grabcut import GrabCutForeground
from backmix.foregrounds.pretrained import PretrainedForeground
from backmix.foregrounds.saliency import SaliencyForeground
from backmix.foregrounds.weights import MissingLibraryError, MissingWeightsError

FOREGROUND_SOURCES: dict[str, Callable[..., ForegroundSource]] = {
    "saliency": SaliencyForeground,
    "grabcut": GrabCutForeground,
    "attention": AttentionForeground,
    "pretrained": PretrainedForeground,
}

__all__ = [
    "FOREGROUND_SOURCES",
    "AttentionForeground",
    "EstimatedMasks",
    "ForegroundSource",
    "GrabCutForeground",
    "MissingLibraryError",
    "MissingWeightsError",
    "PretrainedForeground",
    "SaliencyForeground",
    "Segmentation",
]
