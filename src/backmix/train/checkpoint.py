"""The state of a training, and the checkpoint file from which an interrupted training goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch

from backmix.errors import RunError, TrainingError, in_one_line
from backmix.files import write_atomically
from backmix.train.recipe import with_defaults

Report = TypeVar("Report")


class TrainingState:
    """The state of a training that a checkpoint contains.

    Args:
        fingerprint: The options of the training, as JSON. A training can only be resumed with the same options.
        parts: All objects that change during the training, by name. Each has a `state_dict`.
    """

    def __init__(self, fingerprint: str, parts: Mapping[str, Any]) -> None:
        self.fingerprint = fingerprint
        self.parts = parts

    def save(self, path: Path, history: Sequence[Any]) -> None:
        """Write the checkpoint, together with one report (a data class) for each finished epoch."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        save_checkpoint(path, {"options": self.fingerprint, **state, "history": [asdict(report) for report in history]})

    def restore(self, path: Path, report: type[Report]) -> list[Report]:
        """Load the saved state into all parts, and return the reports of the epochs that were finished.

        Raises:
            RunError: If the file is not a checkpoint, or belongs to another training.
            TrainingError: If the training began with other options.
        """
        state: dict[str, Any] = load_checkpoint(path)
        try:
            before, now = with_defaults(json.loads(state["options"])), json.loads(self.fingerprint)
            divided = before.pop("division", None), now.pop("division", None)
            changed = [
                f"{k}: {before.get(k)!r} -> {now.get(k)!r}" for k in {*before, *now} if before.get(k) != now.get(k)
            ]
            if changed:
                raise TrainingError(
                    "cannot resume with other options than the training began with: "
                    + "; ".join(sorted(changed))
                    + ". Give the old options, or start a new run."
                )
            # Checkpoints of earlier versions do not say which images they were trained on.
            if divided[0] not in (None, divided[1]):
                raise TrainingError(
                    "cannot resume, because other images are trained on than the training began with, or as other "
                    "classes, though as many. Put them back as they were, or start a new run."
                )
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            return [report(**entry) for entry in state["history"]]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"{path} does not fit this training: {in_one_line(error)}") from error


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a training checkpoint, which consists of tensors, numbers, strings, lists and dicts."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            torch.save(state, file)

    write_atomically(path, write)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint without executing any code in it.

    Raises:
        RunError: If the file is missing or damaged, or contains anything other than data.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: there is no training to resume") from error
    except Exception as error:
        reason = in_one_line(error)
        raise RunError(f"{path} is not a readable checkpoint ({reason}). Delete the run and train again.") from error
    if not isinstance(state, dict):
        raise RunError(f"{path} is not a checkpoint: found {type(state).__name__}, expected a dict")
    return state
