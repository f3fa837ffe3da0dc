"""The choice of the estimator that the options of a training name."""

from __future__ import annotations

from typing import Any

from backmix.foregrounds import FOREGROUND_SOURCES, ForegroundSource
from backmix.mixing.estimate import FOREGROUNDS


def choose_estimator(options: dict[str, Any] | None) -> tuple[ForegroundSource | None, dict[str, Any]]:
    """Return the estimator that the option `foreground` of BackMix names, and the options that use its masks.

    Args:
        options: The options of the augmentation. None: no options.

    Returns:
        The estimator and the options with foreground="masks"; or None and the options, if no estimator is named.

    Raises:
        ValueError: If the foreground is neither a source of BackMix's own nor an estimator.
    """
    options = {
        "foreground" if name in ("backmix.foreground", "swap.foreground") else name: value
        for name, value in (options or {}).items()
    }
    name = options.get("foreground")
    if name is None or name in FOREGROUNDS:
        return None, options
    if not isinstance(name, str) or name not in FOREGROUND_SOURCES:
        raise ValueError(f"foreground is one of {', '.join([*FOREGROUNDS, *FOREGROUND_SOURCES])}; got {name!r}")
    return FOREGROUND_SOURCES[name](), {**options, "foreground": "masks"}
