"""Open-set image recognition that does not cheat on backgrounds."""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from backmix.version import __version__ as __version__

if TYPE_CHECKING:
    from backmix.classifier import OpenSetClassifier
    from backmix.errors import BackmixError, DataError, RunError, TrainingError
    from backmix.mixing import BackMix, FlipCrop, ForegroundBank, View, class_activation_map, grad_cam
    from backmix.prediction import Prediction
    from backmix.threshold import ConformalThreshold
    from backmix.train.recipe import TrainOptions

_HOME = {
    "errors": ("BackmixError", "DataError", "RunError", "TrainingError"),
    "mixing": ("BackMix", "FlipCrop", "ForegroundBank", "View", "class_activation_map", "grad_cam"),
    "threshold": ("ConformalThreshold",),
    "classifier": ("OpenSetClassifier",),
    "prediction": ("Prediction",),
    "train.recipe": ("TrainOptions",),
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

MOVED = {
    "checkpoint": "files",
    "commands": "",
    "commands.export": "cli.export_command",
    "commands.fit": "cli.fit_command",
    "commands.predict_paths": "predict.paths",
    "commands.predict_pipeline": "predict.pipeline",
    "evaluation": "inference.evaluation",
    "metrics_variants": "metrics.variants",
    "network": "methods.network",
    "predictor": "predict.predictor",
    "preprocess": "data.preprocess",
    "recipe": "train.recipe",
    "shares": "runs.held_out",
}
"""The names of modules in 0.1.0 -> their names now. A package that only held other modules has the name ""."""


class _Moved(MetaPathFinder, Loader):
    """Import a moved module under its earlier name."""

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, module = name.partition(".")
        return ModuleSpec(name, self) if package == __name__ and module in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        if home := MOVED[name.partition(".")[2]]:
            # The import returns the module in `sys.modules`, so both names mean the same module.
            sys.modules[name] = importlib.import_module(f"{__name__}.{home}")
        else:
            module.__path__ = []


sys.meta_path.append(_Moved())


def __getattr__(name: str) -> Any:
    # A module is loaded on first use, so that `backmix --help` and imports of single parts stay quick.
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"backmix.{module}"), name)
    raise AttributeError(f"module 'backmix' has no attribute {name!r}")
