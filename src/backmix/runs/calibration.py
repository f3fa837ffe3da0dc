"""The file calibration.json of a run: which score decides, and the thresholds on it. It is replaced in one step.

config.yaml holds the fingerprint of the calibration that a training ended with. A later calibration writes this file
alone, with its own fingerprint and that of the run it belongs to, so that no moment exists at which a run is half new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, ValidationError, convert

from backmix.errors import RunError
from backmix.files import write_bytes
from backmix.inference.decider import Decider
from backmix.runs.limits import read_bytes
from backmix.threshold.conformal import ConformalThreshold
from backmix.threshold.default import ACCEPT

NAME = "calibration.json"


class Calibration(Struct, frozen=True):
    """The content of calibration.json that decides.

    Attributes:
        detector: The unknown score that decides; None: the usual one of the method.
        accept: The share of known images to accept.
        thresholds: The threshold of each detector, for all classes together; empty before any calibration.
        per_class: Whether the thresholds of single classes decide.
        class_thresholds: The threshold of each class, None for a class that has none; empty before any calibration.
    """

    detector: str | None
    accept: Annotated[float, Meta(gt=0, lt=1)]
    thresholds: dict[str, dict[str, Any]]
    # Runs of earlier versions do not have these entries.
    per_class: bool = False
    class_thresholds: list[dict[str, Any] | None] = []

    def put_into(self, classifier: Decider) -> None:
        """Give a classifier these thresholds.

        Raises:
            ValueError: If they do not fit the classifier or one another.
        """
        detector = classifier.detector
        thresholds = {name: ConformalThreshold.from_dict(value) for name, value in self.thresholds.items()}
        by_class = [None if one is None else ConformalThreshold.from_dict(one) for one in self.class_thresholds]
        if thresholds and detector not in thresholds:
            raise ValueError(
                f"{detector} decides, and calibration.json has thresholds for {', '.join(thresholds)} alone, so "
                "everything would be known. Run `backmix calibrate`"
            )
        if len(by_class) not in (0, len(classifier.classes)):
            raise ValueError(f"there are {len(classifier.classes)} classes and {len(by_class)} thresholds for them")
        if self.per_class and thresholds and not by_class:
            raise ValueError("each class decides by its own threshold, and calibration.json has none of a class")
        for each in (*thresholds.values(), *(own for own in by_class if own is not None)):
            if each.accept_share != self.accept:
                raise ValueError(
                    f"calibration.json says to accept {self.accept:g} of the known images, and a threshold of it "
                    f"accepts {each.accept_share:g}. Run `backmix calibrate`"
                )
        classifier.thresholds, classifier.class_thresholds, classifier.per_class = thresholds, by_class, self.per_class


def fingerprint_of_run(files: Mapping[str, str]) -> str:
    """Return the fingerprint of what a calibration belongs to: the weights and the classes."""
    others = {name: value for name, value in files.items() if name not in (NAME, "config.yaml")}
    return hashlib.sha256(json.dumps(others, sort_keys=True, default=str).encode()).hexdigest()


def write_calibration(
    folder: Path, classifier: Decider, files: Mapping[str, str], extra: Mapping[str, Any] | None = None
) -> str:
    """Write calibration.json, and return its fingerprint.

    Args:
        folder: The folder of the run.
        classifier: The classifier with its thresholds.
        files: The fingerprints of the other files, as in config.yaml.
        extra: Further entries, for people.

    Raises:
        TrainingError: If it cannot be written.
        ValueError: If the share to accept was changed after the calibration.
    """
    for own in (*classifier.thresholds.values(), *classifier.class_thresholds):
        if own is not None and own.accept_share != classifier.accept:
            raise ValueError(
                f"accept is {classifier.accept:g}, and the thresholds accept {own.accept_share:g}: call "
                "set_accept, which changes both"
            )
    content = {
        "detector": classifier.detector,
        "accept": classifier.accept,
        "thresholds": {name: value.to_dict() for name, value in classifier.thresholds.items()},
        "per_class": classifier.per_class,
        "class_thresholds": [value and value.to_dict() for value in classifier.class_thresholds],
        **(extra or {}),
        "run": fingerprint_of_run(files),
    }
    content["sha256"] = _digest(content)
    written = (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    write_bytes(folder / NAME, written)
    return hashlib.sha256(written).hexdigest()


def read_calibration(folder: Path, files: Mapping[str, str]) -> Calibration:
    """Read calibration.json of a run.

    Args:
        folder: The folder of the run.
        files: The fingerprints in config.yaml.

    Raises:
        RunError: If the file is too large, was altered, or belongs to another run.
        ValueError: If its content is not a calibration.
    """
    path = folder / NAME
    written = read_bytes(path)
    signed = hashlib.sha256(written).hexdigest() == files.get(NAME)
    try:
        content = json.loads(written.decode("utf-8"))
    except (ValueError, RecursionError):
        if signed:
            raise
        content = None
    if not signed:
        own = content.pop("sha256", None) if isinstance(content, dict) else None
        if own is None or own != _digest(content):
            raise RunError(
                f"{path} is not the file this run was saved with (its SHA-256 differs from config.yaml). Restore it, "
                "or run `backmix calibrate`."
            )
        if content.get("run") != fingerprint_of_run(files):
            raise RunError(f"{path} belongs to another run. Restore it, or run `backmix calibrate`.")
    try:
        return convert(content, Calibration)
    except ValidationError as error:
        raise ValueError(f"calibration.json: {error}") from None


def chosen_before(folder: Path) -> Calibration:
    """Return the choices in a calibration.json that may be damaged, or else the usual ones, without thresholds."""
    try:
        found = json.loads(read_bytes(folder / NAME).decode("utf-8"))
        kept = {"per_class": found.get("per_class", False), **{key: found[key] for key in ("detector", "accept")}}
        return convert({**kept, "thresholds": {}}, Calibration)
    except (OSError, ValueError, KeyError, AttributeError, RecursionError, RunError):
        return Calibration(None, ACCEPT, {})


def _digest(content: Mapping[str, Any]) -> str:
    """Return the fingerprint of the content, which does not depend on the layout of its file."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
