"""Open-set image recognition that does not cheat on backgrounds."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from backmix.classifier import OpenSetClassifier
    from backmix.errors import BackmixError, DataError, RunError, TrainingError
    from backmix.mixing import BackMix, FlipCrop, ForegroundBank, View, class_activation_map, grad_cam
    from backmix.prediction import Prediction
    from backmix.recipe import TrainOptions
    from backmix.threshold import ConformalThreshold

_HOME = {
    "OpenSetClassifier": "classifier",
    "Prediction": "prediction",
    "BackmixError": "errors",
    "DataError": "errors",
    "RunError": "errors",
    "TrainingError": "errors",
    "BackMix": "mixing",
    "FlipCrop": "mixing",
    "ForegroundBank": "mixing",
    "View": "mixing",
    "class_activation_map": "mixing",
    "grad_cam": "mixing",
    "ConformalThreshold": "threshold",
    "TrainOptions": "recipe",
}

__all__ = [
    "BackMix",
    "BackmixError",
    "ConformalThreshold",
    "DataError",
    "FlipCrop",
    "ForegroundBank",
    "OpenSetClassifier",
    "Prediction",
    "RunError",
    "TrainOptions",
    "TrainingError",
    "View",
    "class_activation_map",
    "grad_cam",
]


def __getattr__(name: str) -> Any:
    # Loaded when first used: `backmix --help` and a plug-in user's import should not wait for all of it.
    if name not in _HOME:
        raise AttributeError(f"module 'backmix' has no attribute {name!r}")
    return getattr(importlib.import_module(f"backmix.{_HOME[name]}"), name)
