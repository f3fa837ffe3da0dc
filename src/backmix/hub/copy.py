"""The copy of a run that may leave the machine: its own files, and settings without paths or names of images."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backmix.classifier import OpenSetClassifier
from backmix.data.names import split_names
from backmix.detectors import DETECTORS
from backmix.errors import RunError, in_one_line
from backmix.files import sha256, write_text
from backmix.hub.card import LEFT_OUT, model_card
from backmix.runs.folder import (
    CHECKED,
    FORMAT,
    TRAINING,
    load_run,
    read_config,
    write_calibration,
    write_config,
)
from backmix.runs.held_out import read_shares
from backmix.runs.limits import without_weight_sources

CARD = "README.md"
CALIBRATION = "calibration.json"
MAX_FIGURES = 2**24  # Bytes of a file of figures.
SETTINGS = ("model", "method", "image_size", "model_options", "method_options", "mean", "std", "precision")

_WORD = re.compile(r"[A-Za-z0-9_.+-]{1,100}", re.ASCII)
_MODEL = re.compile(r"(timm/)?[A-Za-z0-9_.+-]{1,100}", re.ASCII)
_HUB_ID = re.compile(r"(hub:)?[A-Za-z0-9][\w.-]*/[\w.-]+(:[\w.-]+)?", re.ASCII)
_DIGITS = re.compile(r"digits(:[\w.=,-]*)?", re.ASCII)
# Text that is a name of backmix's or timm's own; any other text may be a path, or somebody's notes.
_NAMED = ("model", "method", "augmentation", "detector", "precision", "optimizer", "schedule", "padding", "budget")


@dataclass(frozen=True)
class SharedCopy:
    """What was written to be shared.

    Attributes:
        folder: where it lies; a run that loads.
        files: names of its files, in order.
        left_out: what of config.yaml was left out, by name, as "arguments.data".
    """

    folder: Path
    files: tuple[str, ...]
    left_out: tuple[str, ...]


def write_shared_copy(
    run: Path,
    folder: Path,
    *,
    name: str,
    card: bool = True,
    training_outputs: bool | None = None,
    evaluation: Path | None = None,
    license: str | None = None,
) -> SharedCopy:
    """Write the copy of a run that is shared: weights, classes, calibration, cleaned config.yaml, model card.

    Checkpoint, logs, report, pictures, metrics.json and held-out.json, which names images, stay where they are.
    Of config.yaml and calibration.json what the classifier needs is kept, and of the rest numbers and names of
    backmix's own. They get fingerprints of their own, so the copy is a run like any other.

    Args:
        run: the run.
        folder: a new or empty one.
        name: "owner/name", as the card calls it.
        card: whether to write README.md.
        training_outputs: whether to share training.safetensors, features and logits of up to 20,000 training images;
            None: where the detector that decides is fitted on them.
        evaluation: figures for the card, as `backmix evaluate --json` wrote them; None: those of the run itself.
        license: its identifier on the hub, such as apache-2.0; None: the card asks for one.

    Raises:
        RunError: when the run cannot be read, cannot be shared, or the figures are not its own.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not an empty folder. What is shared is written into a new one.")
    classifier = load_run(run, kind=OpenSetClassifier)
    config = read_config(run)
    fingerprints = config["files"]
    needed = classifier.detector in DETECTORS and DETECTORS[classifier.detector]().needs_fitting
    if training_outputs is None:
        training_outputs = needed
    if needed and not training_outputs:
        raise RunError(
            f"detector {classifier.detector} decides, and it is fitted on {TRAINING}: without that file nobody can "
            "use the run. Share the file, or calibrate for another detector first."
        )
    if training_outputs and TRAINING not in fingerprints:
        raise RunError(f"{run} has no {TRAINING} to share: it comes from an earlier version, or was not made by fit")
    shared, left_out = shared_config(config, run, classifier.classes)
    chosen = shared_choice(run / CALIBRATION)
    names = (*CHECKED, TRAINING) if training_outputs else CHECKED
    text = None
    if card:
        figures = None if evaluation is None else read_figures(evaluation, config)
        metrics = read_json(run / "metrics.json")
        text = model_card(
            classifier,
            shared,
            name,
            metrics=metrics,
            evaluation=figures,
            chosen=chosen,
            license=license,
            files=(*names, "config.yaml"),
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_calibration(folder, classifier, {"chosen": chosen} if chosen else None)
    for file in names:
        if file == CALIBRATION:
            continue
        shutil.copyfile(run / file, folder / file)
        if sha256(folder / file) != fingerprints[file]:
            raise RunError(f"{run / file} changed while it was copied. Share again when nothing writes to the run.")
    write_config(folder, shared, names)
    if text is not None:
        write_text(folder / CARD, text)
    return SharedCopy(folder, (*names, "config.yaml", *([CARD] if card else [])), tuple(left_out))


def shared_config(config: Mapping[str, Any], run: Path, classes: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What of config.yaml may be shared, without `files`, and the names of what may not.

    Raises:
        RunError: when the network cannot be built without something that may not.
    """
    shared: dict[str, Any] = {"format": FORMAT, "backmix": str(config.get("backmix"))}
    left_out = []
    for key in SETTINGS:
        value = config[key]
        if key == "model_options":
            value = without_weight_sources(value)
        if not (_MODEL.fullmatch(str(value)) if key == "model" else is_plain(value, words=True)):
            raise RunError(
                f"this run cannot be shared: its network is built with {key} {value!r}, which others do not have, or "
                "which may be a path. Train with a model by name and options that are numbers or names."
            )
        shared[key] = value
    for key, value in config.items():
        if key in shared or key == "files":
            continue
        if not _WORD.fullmatch(str(key)):
            left_out.append("an entry")
        elif isinstance(value, Mapping):
            shared[key] = {}
            for name, entry in value.items():
                if not _WORD.fullmatch(str(name)):
                    left_out.append(f"an entry of {key}")
                elif _may_leave(str(name), entry, run, classes):
                    shared[key][name] = entry
                else:
                    shared[key][name] = LEFT_OUT
                    left_out.append(f"{key}.{name}")
        elif is_plain(value, words=False):
            shared[key] = value
        else:
            left_out.append(str(key))
    return shared, left_out


def shared_choice(calibration: Path) -> dict[str, Any]:
    """How example unknowns chose the detector, without the place where they lie; empty where none did."""
    chosen = read_json(calibration).get("chosen")
    if not isinstance(chosen, Mapping):
        return {}
    kept = {key: chosen[key] for key in ("detector", "auroc", "images") if key in chosen}
    return kept if is_plain(kept, words=True) else {}


def is_plain(value: Any, *, words: bool) -> bool:
    """Whether a value is a number, a truth value, None, or a list or dictionary of these; with `words` also a name."""
    if isinstance(value, str):
        return words and _WORD.fullmatch(value) is not None
    if isinstance(value, Mapping):
        return all(_WORD.fullmatch(str(key)) and is_plain(entry, words=words) for key, entry in value.items())
    if isinstance(value, list | tuple):
        return all(is_plain(entry, words=words) for entry in value)
    return value is None or isinstance(value, bool | int | float)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of figures; empty where it is missing, too large or holds something else."""
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read(MAX_FIGURES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_figures(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Figures that `backmix evaluate --json` wrote of this run.

    Raises:
        RunError: when it cannot be read, or speaks of another run.
    """
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read(MAX_FIGURES))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{path} cannot be read as figures of `backmix evaluate --json`: {in_one_line(error)}"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("detectors"), dict):
        raise RunError(f"{path} holds no figures of `backmix evaluate --json`")
    about = content.get("run")
    for key in ("arguments", "training"):
        said = about.get(key) if isinstance(about, dict) else None
        if json.dumps(said, default=str) != json.dumps(config.get(key), default=str):
            raise RunError(
                f"{path} holds figures of another run. Evaluate this one: `backmix evaluate RUN DATA --json`"
            )
    return content


def _may_leave(name: str, value: Any, run: Path, classes: list[str]) -> bool:
    if not isinstance(value, str):
        # Options of methods and augmentations are numbers and names from a list; backmix checks them.
        return is_plain(value, words=name.endswith("_options"))
    if name == "data":
        return bool(_DIGITS.fullmatch(value)) or (bool(_HUB_ID.fullmatch(value)) and _was_no_path(value, run))
    if name == "outliers":
        return value == "backgrounds" or bool(_DIGITS.fullmatch(value))
    if name == "known_classes":
        return all(part in classes or part.isdecimal() for part in split_names(value))
    pattern = _MODEL if name == "model" else _WORD
    return name in _NAMED and pattern.fullmatch(value) is not None


def _was_no_path(data: str, run: Path) -> bool:
    """Whether DATA was a hub id when it was typed: a folder "owner/name" of that time may be gone by now."""
    try:
        return data.startswith("hub:") or read_shares(run).data == data
    except RunError:
        return False
