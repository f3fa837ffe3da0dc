"""Read the facts about a training from the files of its run. A missing or broken file is reported, not an error."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backmix.errors import RunError, in_one_line
from backmix.runs.folder import read_config
from backmix.runs.limits import read_text


@dataclass(frozen=True)
class RunFacts:
    """The contents of a run folder other than the classifier.

    Attributes:
        folder: The folder of the run, as it was given.
        config: The content of config.yaml.
        metrics: The content of metrics.json; empty if it cannot be read.
        no_metrics: The reason why metrics.json cannot be read; None if it can.
        calibration: The content of calibration.json; empty if it cannot be read.
        recipe: The text of fit.yaml, which holds every option of the training; None if it cannot be read.
    """

    folder: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    no_metrics: str | None
    calibration: dict[str, Any]
    recipe: str | None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that were given to `backmix fit`."""
        return _mapping(self.config.get("arguments"))

    @property
    def training(self) -> dict[str, Any]:
        """The training options that followed from the arguments."""
        return _mapping(self.config.get("training"))

    @property
    def history(self) -> list[dict[str, float]]:
        """The loss, accuracy and learning rate (`lr`) of each epoch, in order, and the share of images `mixed`.

        Entries with a value that is not a finite number are left out. Without BackMix, and in runs of earlier versions,
        no entry has `mixed`.
        """
        found = self.metrics.get("history")
        keys = ("epoch", "loss", "accuracy", "lr")
        return [
            {key: float(entry[key]) for key in (*keys, *(["mixed"] if finite(entry.get("mixed")) else []))}
            for entry in (found if isinstance(found, list) else [])
            if isinstance(entry, dict) and all(finite(entry.get(key)) for key in keys)
        ]

    @property
    def chosen(self) -> dict[str, Any]:
        """What was chosen where the arguments left it open."""
        return _mapping(self.config.get("chosen"))

    @property
    def head(self) -> dict[str, Any]:
        """How the head and the unknown score were chosen; empty if all weights were trained."""
        return _mapping(self.metrics.get("head"))

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """The (name, reason) of each image that the training could not read."""
        found = self.metrics.get("unreadable")
        return [
            (str(entry.get("path")), str(entry.get("reason")))
            for entry in (found if isinstance(found, list) else [])
            if isinstance(entry, dict)
        ]


def read_facts(folder: Path) -> RunFacts:
    """Read the facts about a run from its folder.

    Raises:
        RunError: If the folder is not a run.
    """
    config = read_config(folder)
    metrics, reason = _read_json(folder / "metrics.json")
    calibration, _ = _read_json(folder / "calibration.json")
    try:
        recipe = read_text(folder / "fit.yaml")
    except (OSError, UnicodeDecodeError, RunError):
        recipe = None
    return RunFacts(folder, config, metrics, reason, calibration, recipe)


def _read_json(path: Path) -> tuple[dict[str, Any], str | None]:
    try:
        content = json.loads(read_text(path))
    except FileNotFoundError:
        return {}, f"The run has no {path.name}."
    except (OSError, ValueError, RecursionError, RunError) as error:
        return {}, f"{path.name} of the run cannot be read: {in_one_line(error)}."
    if not isinstance(content, dict):
        return {}, f"{path.name} of the run was not written by backmix."
    return content, None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def finite(value: Any) -> bool:
    """Return whether a value of a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
