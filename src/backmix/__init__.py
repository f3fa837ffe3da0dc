"""Open-set image recognition that does not cheat on backgrounds."""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False  # As in typing, which is not imported because it takes a third of the time of this import.
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from backmix.classifier import OpenSetClassifier
    from backmix.errors import BackmixError, DataError, RunError, TrainingError
    from backmix.mixing import BackMix, FlipCrop, ForegroundBank, View, class_activation_map, grad_cam
    from backmix.prediction import Prediction
    from backmix.threshold import ConformalThreshold
    from backmix.train.recipe import TrainOptions
    from backmix.version import __version__ as __version__

_HOME = {
    "errors": ("BackmixError", "DataError", "RunError", "TrainingError"),
    "mixing": ("BackMix", "FlipCrop", "ForegroundBank", "View", "class_activation_map", "grad_cam"),
    "threshold": ("ConformalThreshold",),
    "classifier": ("OpenSetClassifier",),
    "prediction": ("Prediction",),
    "train.recipe": ("TrainOptions",),
    "version": ("__version__",),
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
    "benchmark.trial_tables": "benchmark.tables",
    "checkpoint": "files train.checkpoint",
    "class_thresholds": "threshold.by_class",
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
    "shared_copy": "hub.copy",
    "shares": "runs.held_out",
    "square": "data.square",
}
"""The names of modules in 0.1.0 -> the modules that hold their content now, none for a package of other modules."""


class _Moved:
    """Import a moved module under its earlier name: a finder and its loader, without importlib.abc, which is slow."""

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, module = name.partition(".")
        if package != __name__ or module not in MOVED:
            return None
        from importlib.machinery import ModuleSpec  # Here, as nearly nobody needs it and every start would wait.

        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave the making of a module to Python."""

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        homes = [importlib.import_module(f"{__name__}.{home}") for home in MOVED[name.partition(".")[2]].split()]
        if len(homes) == 1:
            # The import returns the module in `sys.modules`, so both names mean the same module.
            sys.modules[name] = homes[0]
        else:
            module.__path__ = []
            for home in homes:
                vars(module).update({key: value for key, value in vars(home).items() if not key.startswith("__")})


sys.meta_path.append(_Moved())


def __getattr__(name: str) -> Any:
    # A module is loaded on first use, so that `backmix --help` and imports of single parts stay quick.
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"backmix.{module}"), name)
    raise AttributeError(f"module 'backmix' has no attribute {name!r}")
