"""The copy of a run that may leave the machine: the run's files, and settings without paths or names of images."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backmix.classifier import OpenSetClassifier
from backmix.data.names import split_names
from backmix.detectors import METHOD, make_detector
from backmix.errors import RunError, in_one_line
from backmix.files import LOCK, could_not_write, locked, nothing_left_of_a_refusal, sha256, write_text
from backmix.hub.card import LEFT_OUT, model_card
from backmix.runs.folder import CHECKED, FORMAT, TRAINING, finish_run, load_run, read_config
from backmix.runs.held_out import read_shares
from backmix.runs.limits import without_weight_sources

CARD = "README.md"
CALIBRATION = "calibration.json"
UNFINISHED = ".unfinished-copy"
"""An empty file that stands in the folder of a copy until the copy is whole."""
MAX_FIGURES = 2**24  # The number of bytes of a file of figures that are read.
SETTINGS = ("model", "method", "image_size", "model_options", "method_options", "mean", "std", "precision")

_WORD = re.compile(r"[A-Za-z0-9_.+-]{1,100}", re.ASCII)
_MODEL = re.compile(r"(timm/)?[A-Za-z0-9_.+-]{1,100}", re.ASCII)
_HUB_ID = re.compile(r"(hub:)?[A-Za-z0-9][\w.-]*/[\w.-]+(:[\w.-]+)?", re.ASCII)
_DIGITS = re.compile(r"digits(:[\w.=,-]*)?", re.ASCII)
# The entries whose text is a name from backmix or timm. Any other text may be a path, or somebody's notes.
_NAMED = (
    "model",
    "method",
    "augmentation",
    "detector",
    "precision",
    "optimizer",
    "schedule",
    "padding",
    "budget",
    "train",
    "trained",
)
_WEIGHTS = re.compile(r"the (hub|cache of the hub|given place|package [A-Za-z0-9_.=-]{1,100})", re.ASCII)


@dataclass(frozen=True)
class SharedCopy:
    """A copy of a run that was written to be shared.

    Attributes:
        folder: The folder of the copy, which loads like any run.
        files: The names of its files, in order.
        left_out: The names of the entries of config.yaml that were left out, such as "arguments.data".
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
    """Write a copy of a run for sharing: its weights, classes, calibration, cleaned config.yaml and model card.

    The checkpoint, logs, report, pictures, metrics.json, and the files that name images (held-out.json, images.json,
    seen.json) are not copied. The copy keeps the parts of config.yaml and calibration.json that the classifier needs.
    Of the rest it keeps numbers and backmix's own names. These files get new fingerprints, so the copy is a run like
    any other.

    Args:
        run: The folder of the run.
        folder: The folder of the copy, which must be new or empty.
        name: The name "owner/name" for the card.
        card: Whether to write README.md.
        training_outputs: Whether to share training.safetensors, which holds features and logits of up to 20,000
            training images. None: It is shared if the detector that decides is fitted on it.
        evaluation: The file with figures for the card, as written by `backmix evaluate --json`. None: The figures of
            the run itself.
        license: The identifier of the licence on the hub, such as apache-2.0. None: The card asks for one.

    Raises:
        RunError: If the run cannot be read or cannot be shared, or if the figures belong to another run.
    """
    if folder.exists() and not _is_free(folder):
        raise RunError(f"{folder} is not an empty folder. What is shared is written into a new one.")
    classifier = load_run(run, kind=OpenSetClassifier)
    config = read_config(run)
    fingerprints = config["files"]
    needed = classifier.detector != METHOD and make_detector(classifier.detector).needs_fitting
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
    with locked(folder), nothing_left_of_a_refusal(folder, lambda: False), _unfinished(folder):
        files = {}
        for file in names:
            if file == CALIBRATION:
                continue
            _copy(run / file, folder / file)
            files[file] = sha256(folder / file)
            if files[file] != fingerprints[file]:
                raise RunError(f"{run / file} changed while it was copied. Share again when nothing writes to the run.")
        finish_run(folder, classifier, shared, files, {"chosen": chosen} if chosen else None)
        if text is not None:
            write_text(folder / CARD, text)
    return SharedCopy(folder, (*names, "config.yaml", *([CARD] if card else [])), tuple(left_out))


def _is_free(folder: Path) -> bool:
    """Return whether a folder is empty, or holds a copy that a killed process did not finish."""
    if not folder.is_dir():
        return False
    names = {entry.name for entry in folder.iterdir()} - {LOCK}
    return not names or UNFINISHED in names


@contextmanager
def _unfinished(folder: Path) -> Iterator[None]:
    """Mark a folder as unfinished while a copy is written into it, and remove what an unfinished one left there."""
    write_text(folder / UNFINISHED, "")
    for name in (*CHECKED, TRAINING, "config.yaml", CARD):
        (folder / name).unlink(missing_ok=True)
    yield
    (folder / UNFINISHED).unlink(missing_ok=True)


def _copy(file: Path, target: Path) -> None:
    try:
        shutil.copyfile(file, target)
    except OSError as error:
        if error.filename == os.fspath(file):  # It cannot be read.
            raise
        raise could_not_write(target, error) from error


def shared_config(config: Mapping[str, Any], run: Path, classes: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the part of config.yaml that may be shared, without `files`, and the names of the entries left out.

    Raises:
        RunError: If the network cannot be built without an entry that may not be shared.
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
    """Return how example unknowns chose the detector, without their path; empty if there were no example unknowns."""
    chosen = read_json(calibration).get("chosen")
    if not isinstance(chosen, Mapping):
        return {}
    kept = {key: chosen[key] for key in ("detector", "auroc", "images") if key in chosen}
    return kept if is_plain(kept, words=True) else {}


def is_plain(value: Any, *, words: bool) -> bool:
    """Return whether a value is a number, a Boolean, None, or a list or dictionary of these.

    With `words` it may also be a name.
    """
    if isinstance(value, str):
        return words and _WORD.fullmatch(value) is not None
    if isinstance(value, Mapping):
        return all(_WORD.fullmatch(str(key)) and is_plain(entry, words=words) for key, entry in value.items())
    if isinstance(value, list | tuple):
        return all(is_plain(entry, words=words) for entry in value)
    return value is None or isinstance(value, bool | int | float)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of figures; empty if the file is missing, is too large or holds something else."""
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read(MAX_FIGURES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_figures(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the figures that `backmix evaluate --json` wrote for this run.

    Raises:
        RunError: If the file cannot be read, or if it holds figures of another run.
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
        value = about.get(key) if isinstance(about, dict) else None
        if json.dumps(value, default=str) != json.dumps(config.get(key), default=str):
            raise RunError(
                f"{path} holds figures of another run. Evaluate this one: `backmix evaluate RUN DATA --json`"
            )
    return content


def _may_leave(name: str, value: Any, run: Path, classes: list[str]) -> bool:
    """Return whether an entry of a section of config.yaml may leave the machine."""
    if not isinstance(value, str):
        # Options of methods and augmentations are numbers, and names from a list that backmix checks.
        return is_plain(value, words=name.endswith("_options"))
    if name == "data":
        return bool(_DIGITS.fullmatch(value)) or (bool(_HUB_ID.fullmatch(value)) and _was_no_path(value, run))
    if name == "outliers":
        return value == "backgrounds" or bool(_DIGITS.fullmatch(value))
    if name == "known_classes":
        return all(part in classes or part.isdecimal() for part in split_names(value))
    if name == "weights":
        return _WEIGHTS.fullmatch(value) is not None
    pattern = _MODEL if name == "model" else _WORD
    return name in _NAMED and pattern.fullmatch(value) is not None


def _was_no_path(data: str, run: Path) -> bool:
    """Return whether the data argument was a hub id when it was typed.

    It may have been a folder "owner/name" that no longer exists.
    """
    try:
        return data.startswith("hub:") or read_shares(run).data == data
    except RunError:
        return False
