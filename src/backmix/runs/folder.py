"""Write and read the run folder, which holds the results of a training in files that people can read."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
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
from backmix.files import is_locked, locked, sha256, write_bytes, write_text
from backmix.inference.decider import Decider
from backmix.runs import calibration
from backmix.runs.calibration import chosen_before, read_calibration, write_calibration
from backmix.runs.fetch import hub_id, run_folder
from backmix.runs.limits import BuildLimit, read_classes, read_settings, without_weight_sources
from backmix.runs.settings import Settings, check_weights
from backmix.version import __version__

D = TypeVar("D", bound=Decider)

FORMAT = 1
CHECKED = ("model.safetensors", "classes.json", "calibration.json")
TRAINING = "training.safetensors"  # The outputs that detectors are fitted on. Runs of earlier versions have none.


_WAIT = 10.0  # The seconds to wait for a process that writes a run over.


class _ChangedError(RunError):
    """A file is not the one that the run was saved with."""


def save_run(classifier: Decider, folder: Path, *, extra: dict[str, Any] | None = None) -> None:
    """Write a classifier into a folder. config.yaml is written last and holds the fingerprints of the other files.

    Args:
        classifier: The classifier to write.
        folder: The folder, which is made if it is missing.
        extra: Further entries for config.yaml, such as the training options.

    Raises:
        TrainingError: If a file cannot be written.
    """
    with locked(folder):
        training = classifier.training_outputs  # It comes before any writing, because it may be read from this folder.
        files = {"model.safetensors": _write_tensors(folder / "model.safetensors", classifier.network.state_dict())}
        if training is None:
            (folder / TRAINING).unlink(missing_ok=True)
        else:
            files[TRAINING] = _write_tensors(folder / TRAINING, training.tensors())
        classes = (json.dumps(classifier.classes, indent=2, ensure_ascii=False) + "\n").encode()
        write_bytes(folder / "classes.json", classes)
        files["classes.json"] = hashlib.sha256(classes).hexdigest()
        preprocess = classifier.preprocess
        config = {
            "format": FORMAT,
            "backmix": __version__,
            **classifier.settings,
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "decoding": preprocess.decoding,
            "precision": classifier.precision,
            "frozen": classifier.frozen,
            "value_ranges": {kind: list(ends) for kind, ends in (classifier.value_ranges or {}).items()},
            **(extra or {}),
        }
        finish_run(folder, classifier, config, files)


def finish_run(
    folder: Path,
    classifier: Decider,
    config: dict[str, Any],
    files: Mapping[str, str],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write calibration.json, and then config.yaml, the last file of a run, with the fingerprints of all of them.

    The fingerprints are those of what this process wrote, not of what lies in the folder now.

    Args:
        folder: The folder of the other files.
        classifier: The classifier with its thresholds.
        config: The settings, without `files`.
        files: The fingerprint of each of the other files.
        extra: Further entries for calibration.json, for people.

    Raises:
        TrainingError: If a file cannot be written.
    """
    files = {**files, "config.yaml": _digest(config)}
    files[calibration.NAME] = write_calibration(folder, classifier, files, extra)
    ordered = {name: files[name] for name in (*CHECKED, TRAINING, "config.yaml") if name in files}
    write_text(folder / "config.yaml", as_yaml({**config, "files": ordered}))


def save_calibration(classifier: Decider, folder: Path, *, extra: dict[str, Any] | None = None) -> None:
    """Write the thresholds of a classifier into its run folder, in one step. Everything else in the folder stays.

    Args:
        classifier: The classifier, which was read from this folder and then calibrated.
        folder: The run folder.
        extra: Further entries for calibration.json, for people.

    Raises:
        RunError: If another process works on the folder.
        TrainingError: If it cannot be written.
    """
    with locked(folder):
        write_calibration(folder, classifier, read_config(folder)["files"], extra)


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
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            return _load(folder, calibrated, kind)
        except _ChangedError:  # Another process may be writing the run over at this moment.
            if not is_locked(folder) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _load(folder: Path, calibrated: bool, kind: type[D]) -> D:
    config, files = _read_signed(folder)
    for name in (*CHECKED, TRAINING) if TRAINING in files else CHECKED:
        path = folder / name
        if not path.is_file():
            raise RunError(f"{path} is missing. A run is a whole folder: copy all of it, or train again.")
        if name != calibration.NAME and sha256(path) != files.get(name):
            raise _ChangedError(
                f"{path} is not the file this run was saved with (its SHA-256 differs from config.yaml). "
                "Restore it, or train again."
            )
    try:
        classes = read_classes(folder / "classes.json")
        chosen = read_calibration(folder, files) if calibrated else chosen_before(folder)
        settings = Settings.of(config)
        weights = load_file(folder / "model.safetensors")
        with BuildLimit(weights):
            classifier = kind(
                classes,
                model=settings.model,
                method=settings.method,
                image_size=settings.image_size,
                detector=chosen.detector,
                accept=chosen.accept,
                precision=settings.precision,
                model_options=without_weight_sources(settings.model_options),
                method_options=settings.method_options,
                value_ranges=read_ranges(settings.value_ranges),
            )
        classifier.preprocess = Preprocess(settings.image_size, settings.mean, settings.std, settings.decoding)
        check_weights(weights, classifier.network.state_dict())
        classifier.network.load_state_dict(weights)
        classifier.frozen = settings.frozen
        chosen.put_into(classifier)
    except RunError:
        raise
    except Exception as error:  # Wrong settings can make the construction of a network fail in any way.
        raise RunError(f"{folder} cannot be read as a run of backmix {__version__}: {in_one_line(error)}") from error
    classifier.network.eval()
    if TRAINING in files:
        classifier.training_outputs = partial(_read_training, folder / TRAINING, files[TRAINING])
    return classifier


def _read_signed(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the settings of a finished run, and the fingerprints in its config.yaml."""
    config = read_config(folder)
    files = config.pop("files", None)
    if files is None:
        raise RunError(f"{folder} holds a training that did not finish. Go on with `backmix fit ... --resume`.")
    if not isinstance(files, dict) or files.get("config.yaml") != _digest(config):
        raise RunError(
            f"{folder / 'config.yaml'} was altered since this run was saved. Its settings belong to the weights: "
            "undo the change, or train again."
        )
    return config, files


def fingerprint(folder: Path) -> str:
    """Return the fingerprint of everything that the answers of a run follow from.

    config.yaml holds the fingerprints of the weights and the classes; a later calibration changes calibration.json
    alone.

    Raises:
        OSError: If one of the two cannot be read.
    """
    both = "".join(sha256(folder / name) for name in ("config.yaml", calibration.NAME))
    return hashlib.sha256(both.encode()).hexdigest()


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
        found, writer = (str(config.get(name, "of some version"))[:40] for name in ("format", "backmix"))
        raise RunError(
            f"{folder} was written in run format {found} by backmix {writer}; "
            f"this is backmix {__version__}, which reads format {FORMAT}. Use that version, or train again."
        )
    return config


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors, and return the fingerprint of the file."""
    content = {name: value.contiguous().cpu() for name, value in tensors.items()}
    # `save_file` is not used: only the owner can read its files, and a full disk raises another kind of error.
    written = save(content)
    write_bytes(path, written)
    return hashlib.sha256(written).hexdigest()


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
    try:
        return load_run(folder, kind=kind)
    except RunError as error:
        if name is None:
            raise
        raise RunError(
            f"{name} on the hub cannot be used: {error} Delete {folder} to fetch it again, or give another revision."
        ) from error
