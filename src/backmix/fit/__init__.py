"""From a source of images to a trained and calibrated classifier, and from what a person asks for to a run.

`arguments` says what can be asked for, `data` opens and divides the images, `choices` and `budget` choose the network
and the length of the training, `training` trains a classifier, `session` does all of it and writes the folder.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backmix.fit.training import FitReport, auto_batch_size, auto_epochs, auto_options, fit

__all__ = ["FitReport", "auto_batch_size", "auto_epochs", "auto_options", "fit"]


def __getattr__(name: str) -> Any:
    # Loaded when first used: the command line reads `arguments` without torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("backmix.fit.training"), name)
