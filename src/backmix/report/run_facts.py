"""What the files of a run say about its training; a file that is missing or broken is said to be so."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backmix.errors import in_one_line
from backmix.runs.folder import read_config


@dataclass(frozen=True)
class RunFacts:
    """What a run folder holds beside the classifier.

    Attributes:
        folder: the run, as it was given.
        config: config.yaml.
        metrics: metrics.json; empty where it cannot be read.
        no_metrics: why not.
        calibration: calibration.json without its scores; empty where it cannot be read.
        recipe: text of fit.yaml, every option of the training; None where there is none.
    """

    folder: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    no_metrics: str | None
    calibration: dict[str, Any]
    recipe: str | None

    @property
    def arguments(self) -> dict[str, Any]:
        """What `backmix fit` was asked for."""
        return _mapping(self.config.get("arguments"))

    @property
    def training(self) -> dict[str, Any]:
        """The training options that came of it."""
        return _mapping(self.config.get("training"))

    @property
    def history(self) -> list[dict[str, float]]:
        """Loss, accuracy and learning rate (`lr`) of each epoch, in order; entries that are no numbers are left out."""
        found = self.metrics.get("history")
        keys = ("epoch", "loss", "accuracy", "lr")
        return [
            {key: float(entry[key]) for key in keys}
            for entry in (found if isinstance(found, list) else [])
            if isinstance(entry, dict) and all(_is_number(entry.get(key)) for key in keys)
        ]

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """(name, reason) of each image that the training left out."""
        found = self.metrics.get("unreadable")
        return [
            (str(entry.get("path")), str(entry.get("reason")))
            for entry in (found if isinstance(found, list) else [])
            if isinstance(entry, dict)
        ]


def read_facts(folder: Path) -> RunFacts:
    """Read what a run says of itself.

    Raises:
        RunError: when the folder is no run.
    """
    config = read_config(folder)
    metrics, reason = _read_json(folder / "metrics.json")
    calibration, _ = _read_json(folder / "calibration.json")
    try:
        recipe = (folder / "fit.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        recipe = None
    return RunFacts(folder, config, metrics, reason, calibration, recipe)


def _read_json(path: Path) -> tuple[dict[str, Any], str | None]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, f"The run has no {path.name}."
    except (OSError, ValueError) as error:
        return {}, f"{path.name} of the run cannot be read: {in_one_line(error)}."
    if not isinstance(content, dict):
        return {}, f"{path.name} of the run was not written by backmix."
    return content, None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
