"""Train and calibrate a classifier on a source of images, and write a run as a person asked for it.

`arguments` declares the options, `data` opens and divides the images, `choices` and `budget` choose the network and the
length of the training, `training` trains a classifier, and `session` does all of this and writes the folder.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backmix.fit.auto_options import auto_batch_size, auto_epochs, auto_options
    from backmix.fit.fit_report import FitReport
    from backmix.fit.training import fit

__all__ = ["FitReport", "auto_batch_size", "auto_epochs", "auto_options", "fit"]


def __getattr__(name: str) -> Any:
    # A module is loaded on first use, because the command line reads `arguments` without torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = {"FitReport": "fit_report", "fit": "training"}.get(name, "auto_options")
    return getattr(importlib.import_module(f"backmix.fit.{place}"), name)
