"""Run one cell of the benchmark: train on the known classes of a trial, answer its test images, write a run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from backmix.benchmark.environment import describe_environment
from backmix.benchmark.grid import Cell
from backmix.benchmark.grid_options import GridOptions
from backmix.benchmark.protocols import Trial, find_protocol
from backmix.benchmark.recipe import TrialSetting
from backmix.benchmark.recipes import find_recipe
from backmix.benchmark.results import Row
from backmix.benchmark.trial_data import load_trial
from backmix.classifier import OpenSetClassifier
from backmix.data.source import ImageSource
from backmix.data.split import auto_holdout
from backmix.data.write_yaml import as_yaml
from backmix.detectors import default_detector
from backmix.errors import RunError
from backmix.files import make_folder, write_json, write_text
from backmix.fit.fit_report import FitReport
from backmix.fit.frozen_training import fit_frozen
from backmix.fit.mixed_views import VIEWS
from backmix.fit.training import fit
from backmix.inference.feature_cache import default_folder
from backmix.outliers.dataset import load_outliers
from backmix.runs.folder import FORMAT
from backmix.train.loop import EpochReport, Progress, make_accelerator
from backmix.version import __version__

CELL, CHECKPOINT, METRICS = "cell.json", "checkpoint.pt", "metrics.json"

_PHOTOGRAPH = 96  # The side in pixels from which images are like the photographs of the published weights.


@dataclass(frozen=True)
class Plan:
    """Everything that is decided about a cell before it runs.

    Attributes:
        trial: The trial with its classes.
        setting: The settings of the recipe for this trial, with the overrides of the grid.
        augmentation: The augmentations of the recipe and of the cell, joined by "+".
        augmentation_options: The options of both augmentations.
        settings: All settings as JSON. A cell that is resumed must have begun with the same settings.
    """

    trial: Trial
    setting: TrialSetting
    augmentation: str
    augmentation_options: dict[str, Any]
    settings: dict[str, Any]


class Clock:
    """A clock that counts the seconds of work across interruptions.

    If a process is killed, its seconds since the last `store` are lost.

    Args:
        path: The JSON file that keeps the seconds. `store` creates it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = 0.0
        if path.is_file():
            self.before = float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
        self.begin = time.monotonic()

    def store(self) -> float:
        """Write the seconds so far, rounded to a hundredth, and return them."""
        seconds = round(self.before + time.monotonic() - self.begin, 2)
        write_json(self.path, {"seconds": seconds})
        return seconds


def plan_cell(cell: Cell, options: GridOptions) -> Plan:
    """Look up the trial and the recipe of a cell.

    Raises:
        ValueError, DataError: If a name does not exist.
    """
    trial = find_protocol(cell.protocol).trials(cell.split_list)[cell.trial]
    recipe = find_recipe(cell.recipe)
    known_images = trial.train_images
    setting = recipe.for_trial(
        image_size=trial.image_size,
        data=trial.train.data,
        images=known_images - round(auto_holdout(known_images) * known_images),
        seed=cell.seed,
        method=cell.method,
        protocol=cell.protocol,
        epochs=options.epochs,
        precision=options.precision,
    )
    parts = [name for name in (setting.augmentation, cell.augmentation) if name != "none"]
    augmentation_options = {**setting.augmentation_options, **cell.augmentation_options}
    augmentation = "+".join(parts) or "none"
    settings = {
        "cell": cell.to_dict(),
        "fingerprint": trial.fingerprint,
        "model": setting.model,
        "image_size": setting.image_size,
        "augmentation": augmentation,
        "augmentation_options": augmentation_options,
        "model_options": setting.model_options,
        "method_options": setting.method_options,
        "mean": setting.mean,
        "std": setting.std,
        "outliers": options.outliers,
        "training": {key: value for key, value in asdict(setting.options).items() if key != "precision"},
    }
    if setting.frozen:  # Nothing else had a part in it.
        settings["training"] = {"trained": "head", "seed": setting.options.seed, "views": VIEWS}
    return Plan(trial, setting, augmentation, augmentation_options, json.loads(json.dumps(settings)))


def make_classifier(cell: Cell, plan: Plan) -> OpenSetClassifier:
    """Make the classifier that a cell trains, with its initial weights."""
    setting = plan.setting
    return OpenSetClassifier(
        list(plan.trial.train.classes),
        model=setting.model,
        method=cell.method,
        image_size=setting.image_size,
        precision=setting.options.precision,
        seed=cell.seed,
        pretrained=setting.frozen,
        model_options=setting.model_options,
        method_options=setting.method_options,
        mean=setting.mean,
        std=setting.std,
    )


def finished(folder: Path) -> dict[str, Any] | None:
    """Return the content of metrics.json of a finished cell; None if the cell is not finished.

    Raises:
        RunError: If the file is not the metrics.json of a cell.
    """
    try:
        found: Any = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{folder / METRICS} is no JSON ({error}); delete it, and the cell is evaluated again") from None
    if not isinstance(found, dict) or "rows" not in found or "settings" not in found:
        raise RunError(f"{folder / METRICS} was not written by `backmix bench`; choose another --out")
    return found


def check_settings(folder: Path, settings: dict[str, Any], before: dict[str, Any]) -> None:
    """Raise RunError, which names the differences, unless a cell was begun with the same settings as now."""
    if before != settings:
        changed = sorted(_differences(before, settings))
        raise RunError(
            f"{folder} was made with other settings: {'; '.join(changed)}. Give the old ones, or choose another --out."
        )


def begun_precision(folder: Path, precision: str) -> str:
    """Return the precision with which a cell was begun, if "auto" is asked for.

    The machine that resumes the cell may choose another precision for "auto" than the machine that began it.
    """
    path = folder / CELL
    if precision != "auto" or not path.is_file():
        return precision
    return str(json.loads(path.read_text(encoding="utf-8"))["precision"])


def run_cell(
    cell: Cell,
    folder: Path,
    options: GridOptions,
    *,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> dict[str, Any]:
    """Run the missing part of a cell: nothing, the rest of its training, or its evaluation.

    The weights of the last epoch are kept, never the weights of the epoch that was best on some images. Thresholds are
    calibrated on known training images that were held out.

    Args:
        cell: The cell to run.
        folder: The run folder of the cell.
        options: The options of the grid.
        on_step: See `backmix.train.train`.
        on_epoch: See `backmix.train.train`.

    Returns:
        The content of metrics.json: among others `settings`, `environment`, `rows` as in results.csv, and the `seconds`
        of the training, summed over interruptions.

    Raises:
        RunError: If the folder was begun with other settings. Errors of data, training and evaluation pass through too.
    """
    precision: Any = begun_precision(folder, options.precision)
    plan = plan_cell(cell, replace(options, precision=precision))
    done = finished(folder)
    if done is not None:
        check_settings(folder, plan.settings, done["settings"])
        return done
    clock = _begin(folder, plan)
    setting = plan.setting
    data = load_trial(plan.trial, options.root, unknown_sets=options.unknown_sets)
    accelerator = make_accelerator(setting.options.precision)
    classifier = make_classifier(cell, plan)
    head = classifier.network.head
    outliers = load_outliers(options.outliers, plan.trial.train.classes) if head.uses_outliers else None
    shared: dict[str, Any] = {
        "augmentation": plan.augmentation,
        "augmentation_options": plan.augmentation_options,
        "outliers": outliers,
        "workers": options.workers,
    }

    def count(report: EpochReport) -> None:
        clock.store()
        if on_epoch is not None:
            on_epoch(report)

    if setting.frozen:
        report = _fit_head(classifier.to(accelerator.device), data.train, cell, shared)
    else:
        report = fit(
            classifier,
            data.train,
            options=setting.options,
            accelerator=accelerator,
            checkpoint=folder / CHECKPOINT,
            resume=True,
            on_step=on_step,
            on_epoch=count,
            **shared,
        )
    seconds = clock.store()
    classifier.save(folder, extra={"benchmark": plan.settings})
    environment = describe_environment(accelerator.device, setting.options.precision)
    rows: list[dict[str, Any]] = []
    for name, source in data.tests.items():
        result = classifier.evaluate(source, detectors=list(options.detectors), workers=options.workers)
        rows += _rows(cell, plan, name, result, report.held_out_accuracy, len(report.split.train), seconds, environment)
    metrics = {
        "settings": plan.settings,
        "environment": environment,
        "seconds": seconds,
        "held_out_accuracy": report.held_out_accuracy,
        "history": [asdict(entry) for entry in report.history],
        **({} if report.head is None else {"head": report.head.to_dict()}),
        "rows": rows,
        "notes": [*data.notes, *_size_notes(plan)],
    }
    write_json(folder / METRICS, metrics)
    if not options.keep_checkpoints:
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return metrics


def _fit_head(classifier: OpenSetClassifier, train: ImageSource, cell: Cell, shared: dict[str, Any]) -> FitReport:
    """Train the head of a cell whose backbone is frozen. Features are kept for other cells, whatever their seed."""
    if isinstance(shared["outliers"], str):
        raise ValueError(
            f"{cell.method} learns from outliers, and recipe {cell.recipe} makes none from backgrounds, because it "
            "sees features alone: give --outliers DATA, or choose another recipe"
        )
    return fit_frozen(
        classifier, train, cache=default_folder(), detector=default_detector(cell.method), seed=cell.seed, **shared
    )


def _size_notes(plan: Plan) -> list[str]:
    """Return a note if photographs are wanted and the images of the trial are smaller."""
    side, wanted = plan.trial.image_size, plan.setting.image_size
    if not plan.setting.frozen or side >= _PHOTOGRAPH:
        return []
    return [
        f"images of {plan.trial.protocol}, {side} px, are enlarged to {wanted} px, which the published weights want: "
        "they are unlike the photographs that these were trained on"
    ]


def _begin(folder: Path, plan: Plan) -> Clock:
    """Create the folder, or check that it was begun with the same settings; return the clock of the cell.

    Settings of a cell of which no epoch was trained bind nobody: it may be that they were refused.
    """
    path = folder / CELL
    if path.is_file() and any((folder / name).is_file() for name in (CHECKPOINT, "model.safetensors")):
        check_settings(folder, plan.settings, json.loads(path.read_text(encoding="utf-8"))["settings"])
    else:
        make_folder(folder)
        write_json(path, {"settings": plan.settings, "precision": plan.setting.options.precision})
    if not (folder / "model.safetensors").is_file():
        write_text(
            folder / "config.yaml",
            as_yaml({"format": FORMAT, "backmix": __version__, "benchmark": plan.settings}),
        )
    return Clock(folder / "seconds.json")


def _rows(
    cell: Cell,
    plan: Plan,
    unknown_set: str,
    result: dict[str, Any],
    held_out_accuracy: float,
    train_images: int,
    seconds: float,
    environment: dict[str, Any],
) -> list[dict[str, Any]]:
    shared = {
        **cell.to_dict(),
        "fingerprint": plan.trial.fingerprint,
        "unknown_set": unknown_set,
        "accuracy": result["accuracy"],
        "held_out_accuracy": held_out_accuracy,
        "train_images": train_images,
        "known_images": result["images"]["known"],
        "unknown_images": result["images"]["unknown"],
        "model": plan.setting.model,
        "epochs": plan.setting.epochs,
        "precision": plan.setting.options.precision,
        "device": environment["device"],
        "threads": environment["threads"],
        "seconds": seconds,
        "version": environment["version"],
    }
    names = [field for field in Row.__dataclass_fields__ if field not in shared and field != "detector"]
    return [
        {**shared, "detector": detector, **{name: entry.get(name) for name in names}}
        for detector, entry in result["detectors"].items()
    ]


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in {*before, *now}
            for line in _differences(before.get(key), now.get(key), f"{where}.{key}" if where else key)
        ]
    return [] if before == now else [f"{where} {before!r} -> {now!r}"]
