"""The run folder: everything a training left behind, readable by people, checked on the way in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from backmix import __version__
from backmix.checkpoint import sha256, write_atomically, write_json, write_text
from backmix.errors import RunError
from backmix.threshold import ConformalThreshold

if TYPE_CHECKING:
    from backmix.classifier import OpenSetClassifier

FORMAT = 1
CHECKED = ("model.safetensors", "classes.json", "calibration.json")


def save_run(classifier: OpenSetClassifier, folder: Path, *, extra: dict[str, Any] | None = None) -> None:
    """Write a classifier into a folder; config.yaml comes last and holds the fingerprints of the other files.

    Args:
        classifier: what to write.
        folder: made if missing.
        extra: further entries for config.yaml, such as the training options.

    Raises:
        TrainingError: when a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous().cpu() for name, value in classifier.network.state_dict().items()}
    write_atomically(folder / "model.safetensors", lambda path: save_file(weights, path))
    write_json(folder / "classes.json", classifier.classes)
    write_json(
        folder / "calibration.json",
        {
            "detector": classifier.detector,
            "accept": classifier.accept,
            "thresholds": {name: value.to_dict() for name, value in classifier.thresholds.items()},
        },
    )
    preprocess = classifier.preprocess
    config = {
        "format": FORMAT,
        "backmix": __version__,
        **classifier.settings,
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "precision": classifier.precision,
        **(extra or {}),
        "files": {name: sha256(folder / name) for name in CHECKED},
    }
    write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def load_run(folder: Path) -> OpenSetClassifier:
    """Read a classifier; nothing in the folder is executed.

    Raises:
        RunError: when the folder or a file is missing, was altered, or was written in another format.
    """
    from backmix.classifier import OpenSetClassifier
    from backmix.preprocess import Preprocess

    config = read_config(folder)
    if "files" not in config:
        raise RunError(f"{folder} holds a training that did not finish. Go on with `backmix fit ... --resume`.")
    for name in CHECKED:
        path = folder / name
        if not path.is_file():
            raise RunError(f"{path} is missing. A run is a whole folder: copy all of it, or train again.")
        if sha256(path) != config["files"].get(name):
            raise RunError(
                f"{path} is not the file this run was saved with (its SHA-256 differs from config.yaml). "
                "Restore it, or train again."
            )
    try:
        classes = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
        calibration = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
        classifier = OpenSetClassifier(
            classes,
            model=config["model"],
            method=config["method"],
            image_size=config["image_size"],
            detector=calibration["detector"],
            accept=calibration["accept"],
            precision=config["precision"],
            model_options=config["model_options"],
            method_options=config["method_options"],
        )
        classifier.preprocess = Preprocess(config["image_size"], tuple(config["mean"]), tuple(config["std"]))
        classifier.network.load_state_dict(load_file(folder / "model.safetensors"))
        classifier.thresholds = {
            name: ConformalThreshold.from_dict(value) for name, value in calibration["thresholds"].items()
        }
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise RunError(f"{folder} cannot be read as a run of backmix {__version__}: {error}") from error
    classifier.network.eval()
    return classifier


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.yaml of a run.

    Raises:
        RunError: when the folder is no run, or one of another format.
    """
    path = folder / "config.yaml"
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder. A run is the folder given to `backmix fit ... --out`.")
    if not path.is_file():
        raise RunError(f"{folder} has no config.yaml, so it is not a run. Give the folder of `backmix fit ... --out`.")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(config, dict) or "format" not in config:
        raise RunError(f"{path} was not written by backmix: it has no `format`")
    if config["format"] != FORMAT:
        raise RunError(
            f"{folder} was written in run format {config['format']} by backmix {config.get('backmix', 'of some version')}; "
            f"this is backmix {__version__}, which reads format {FORMAT}. Use that version, or train again."
        )
    return config
