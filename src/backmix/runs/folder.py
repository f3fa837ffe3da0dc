"""Write and read the run folder, which holds the results of a training in files that people can read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, overload

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor

from backmix.data.preprocess import Preprocess
from backmix.data.value_range import read_ranges
from backmix.data.write_yaml import as_yaml
from backmix.detectors.training_outputs import TrainingOutputs
from backmix.errors import RunError, in_one_line
from backmix.files import sha256, write_bytes, write_json, write_text
from backmix.inference.decider import Decider
from backmix.runs.fetch import hub_id, run_folder
from backmix.runs.limits import (
    BuildLimit,
    check_image_size,
    read_classes,
    read_settings,
    read_text,
    without_weight_sources,
)
from backmix.threshold.conformal import ConformalThreshold
from backmix.threshold.default import ACCEPT
from backmix.version import __version__

D = TypeVar("D", bound=Decider)

FORMAT = 1
CHECKED = ("model.safetensors", "classes.json", "calibration.json")
TRAINING = "training.safetensors"  # The outputs that detectors are fitted on. Runs of earlier versions have none.


def save_run(classifier: Decider, folder: Path, *, extra: dict[str, Any] | None = None) -> None:
    """Write a classifier into a folder. config.yaml is written last and holds the fingerprints of the other files.

    Args:
        classifier: The classifier to write.
        folder: The folder, which is made if it is missing.
        extra: Further entries for config.yaml, such as the training options.

    Raises:
        TrainingError: If a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    training = classifier.training_outputs  # This comes before any writing, because it may be read from this folder.
    _write_tensors(folder / "model.safetensors", classifier.network.state_dict())
    if training is None:
        (folder / TRAINING).unlink(missing_ok=True)
    else:
        _write_tensors(folder / TRAINING, training.tensors())
    write_json(folder / "classes.json", classifier.classes)
    write_calibration(folder, classifier)
    preprocess = classifier.preprocess
    config = {
        "format": FORMAT,
        "backmix": __version__,
        **classifier.settings,
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "precision": classifier.precision,
        "frozen": classifier.frozen,
        "value_ranges": {kind: list(ends) for kind, ends in (classifier.value_ranges or {}).items()},
        **(extra or {}),
    }
    write_config(folder, config, CHECKED if training is None else (*CHECKED, TRAINING))


def write_config(folder: Path, config: dict[str, Any], written: Iterable[str]) -> None:
    """Write config.yaml, the last file of a run, with the fingerprints of the others and of itself.

    Args:
        folder: The folder of the other files.
        config: The settings, without `files`.
        written: The names of the other files.

    Raises:
        TrainingError: If it cannot be written.
    """
    files = {name: sha256(folder / name) for name in written} | {"config.yaml": _digest(config)}
    write_text(folder / "config.yaml", as_yaml({**config, "files": files}))


def save_calibration(classifier: Decider, folder: Path, *, extra: dict[str, Any] | None = None) -> None:
    """Write the thresholds of a classifier into its run folder. Everything else in the folder stays.

    If this is interrupted between the two files that it writes, the run cannot be loaded until it is calibrated again,
    see `load_run`.

    Args:
        classifier: The classifier, which was read from this folder and then calibrated.
        folder: The run folder.
        extra: Further entries for calibration.json, for people.
    """
    config = read_config(folder)
    files = config.pop("files")
    write_calibration(folder, classifier, extra)
    write_config(folder, config, [name for name in files if name != "config.yaml"])


def write_calibration(folder: Path, classifier: Decider, extra: dict[str, Any] | None = None) -> None:
    """Write only calibration.json. `write_config` updates its fingerprint in config.yaml."""
    write_json(
        folder / "calibration.json",
        {
            "detector": classifier.detector,
            "accept": classifier.accept,
            "thresholds": {name: value.to_dict() for name, value in classifier.thresholds.items()},
            "per_class": classifier.per_class,
            "class_thresholds": [value and value.to_dict() for value in classifier.class_thresholds],
            **(extra or {}),
        },
    )


@overload
def load_run(folder: Path, *, calibrated: bool = True) -> Decider: ...


@overload
def load_run(folder: Path, *, calibrated: bool = True, kind: type[D]) -> D: ...


def load_run(folder: Path, *, calibrated: bool = True, kind: type[Decider] = Decider) -> Decider:
    """Load a classifier from a run folder. Nothing in the folder is executed.

    Args:
        folder: The run folder.
        kind: The class of the result; `OpenSetClassifier` for a classifier that can be trained and saved.
        calibrated: Whether to read the thresholds. If not, calibration.json may be damaged.

    Raises:
        RunError: If the folder or a file is missing, was altered, or was written in another format.
    """
    config = read_config(folder)
    files = config.pop("files", None)
    if files is None:
        raise RunError(f"{folder} holds a training that did not finish. Go on with `backmix fit ... --resume`.")
    if not isinstance(files, dict) or files.get("config.yaml") != _digest(config):
        raise RunError(
            f"{folder / 'config.yaml'} was altered since this run was saved. Its settings belong to the weights: "
            "undo the change, or train again."
        )
    for name in (*CHECKED, TRAINING) if TRAINING in files else CHECKED:
        path = folder / name
        if not path.is_file():
            raise RunError(f"{path} is missing. A run is a whole folder: copy all of it, or train again.")
        if not calibrated and name == "calibration.json":
            continue
        if sha256(path) != files.get(name):
            instead = "run `backmix calibrate`" if name == "calibration.json" else "train again"
            raise RunError(
                f"{path} is not the file this run was saved with (its SHA-256 differs from config.yaml). "
                f"Restore it, or {instead}."
            )
    try:
        classes = read_classes(folder / "classes.json")
        calibration = _read_calibration(folder) if calibrated else _chosen_before(folder)
        weights = load_file(folder / "model.safetensors")
        with BuildLimit(weights):
            classifier = kind(
                classes,
                model=config["model"],
                method=config["method"],
                image_size=check_image_size(config["image_size"]),
                detector=calibration["detector"],
                accept=calibration["accept"],
                precision=config["precision"],
                model_options=without_weight_sources(config["model_options"]),
                method_options=config["method_options"],
                value_ranges=read_ranges(config.get("value_ranges", {})),  # Earlier versions kept none.
            )
        classifier.preprocess = Preprocess(config["image_size"], tuple(config["mean"]), tuple(config["std"]))
        classifier.network.load_state_dict(weights)
        classifier.frozen = bool(config.get("frozen", False))  # Runs of earlier versions trained all weights.
        classifier.thresholds = {
            name: ConformalThreshold.from_dict(value) for name, value in calibration["thresholds"].items()
        }
        # Runs of earlier versions do not have these entries.
        classifier.per_class = bool(calibration.get("per_class", False))
        classifier.class_thresholds = [
            value and ConformalThreshold.from_dict(value) for value in calibration.get("class_thresholds", [])
        ]
        if len(classifier.class_thresholds) not in (0, len(classifier.classes)):
            raise ValueError("there is not one threshold for each class")
    except RunError:
        raise
    except Exception as error:  # Wrong settings can make the construction of a network fail in any way.
        raise RunError(f"{folder} cannot be read as a run of backmix {__version__}: {in_one_line(error)}") from error
    classifier.network.eval()
    if TRAINING in files:
        classifier.training_outputs = partial(_read_training, folder / TRAINING, files[TRAINING])
    return classifier


def _read_calibration(folder: Path) -> dict[str, Any]:
    content = json.loads(read_text(folder / "calibration.json"))
    if not isinstance(content, dict):
        raise ValueError(f"calibration.json holds {type(content).__name__}, not a dictionary")
    return content


def _chosen_before(folder: Path) -> dict[str, Any]:
    """Return the detector and the accepted share in a calibration.json that may be damaged, or else the defaults."""
    try:
        found = _read_calibration(folder)
        kept = {key: found[key] for key in ("detector", "accept")} | {"per_class": found.get("per_class", False)}
    except (OSError, ValueError, KeyError, RunError):
        kept = {"detector": None, "accept": ACCEPT, "per_class": False}
    return {**kept, "thresholds": {}}


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.yaml of a run.

    Raises:
        RunError: If the folder is not a run, or a run of another format.
    """
    path = folder / "config.yaml"
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder. A run is the folder given to `backmix fit ... --out`.")
    if not path.is_file():
        raise RunError(f"{folder} has no config.yaml, so it is not a run. Give the folder of `backmix fit ... --out`.")
    config = read_settings(path)
    if not isinstance(config, dict) or "format" not in config:
        raise RunError(f"{path} was not written by backmix: it has no `format`")
    if config["format"] != FORMAT:
        writer = config.get("backmix", "of some version")
        raise RunError(
            f"{folder} was written in run format {config['format']} by backmix {writer}; "
            f"this is backmix {__version__}, which reads format {FORMAT}. Use that version, or train again."
        )
    return config


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    content = {name: value.contiguous().cpu() for name, value in tensors.items()}
    # `save_file` is not used: only the owner can read its files, and a full disk raises another kind of error.
    write_bytes(path, save(content))


def _read_training(path: Path, fingerprint: str) -> TrainingOutputs:
    """Read the outputs that detectors are fitted on.

    The file is checked again, because it may have changed since the rest of the run was loaded.

    Raises:
        RunError: If the file is missing, or is not the file that the run was loaded with.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read any more: {in_one_line(error)}") from error
    if hashlib.sha256(content).hexdigest() != fingerprint:
        raise RunError(f"{path} has changed since the run was loaded. Restore it, or train again.")
    try:
        return TrainingOutputs.from_tensors(load(content))
    except (SafetensorError, TypeError) as error:
        raise RunError(f"{path} does not hold what detectors are fitted on: {in_one_line(error)}") from error


def _digest(config: dict[str, Any]) -> str:
    """Return the fingerprint of the settings, which does not depend on the layout of their file."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def load_from_hub(
    run: str | os.PathLike[str], *, revision: str | None = None, token: str | bool | None = None, kind: type[D]
) -> D:
    """Fetch a run, see `run_folder`, and load it with all checks.

    Raises:
        RunError: If it cannot be fetched, was altered, or names a network that lies elsewhere.
    """
    folder = run_folder(run, revision=revision, token=token)
    name = hub_id(run)
    if name is None:
        return load_run(folder, kind=kind)
    try:
        model = read_config(folder).get("model")
        if ":" in str(model):
            raise RunError(f"its network {model!r} lies in another place, which is not asked.")
        return load_run(folder, kind=kind)
    except RunError as error:
        raise RunError(
            f"{name} on the hub cannot be used: {error} Delete {folder} to fetch it again, or give another revision."
        ) from error
