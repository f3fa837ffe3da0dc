"""Thresholds on the unknown score that accept or reject images, fitted on held-out known images only."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backmix.threshold.conformal import ConformalThreshold, min_held_out, most_accepted

__all__ = ["ConformalThreshold", "min_held_out", "most_accepted"]


def __getattr__(name: str) -> Any:
    # These names are imported at first use, so that the command line can show `ACCEPT` of `default` without torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("backmix.threshold.conformal"), name)
