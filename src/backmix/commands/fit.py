"""`backmix fit`: train, calibrate, write a run folder."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from backmix import __version__
from backmix.checkpoint import write_json, write_text
from backmix.classifier import OpenSetClassifier
from backmix.commands.console import make_console, training_bar
from backmix.commands.training_data import auto_image_size, load_training_data, notes, shown_unknowns
from backmix.data.load import choose_known
from backmix.errors import RunError
from backmix.fit import FitReport, Split, auto_options, fit
from backmix.outliers.load import load_outliers
from backmix.recipe import TrainOptions
from backmix.run import FORMAT, read_config
from backmix.train import make_accelerator

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class FitArguments:
    """What `backmix fit` was asked for; None: chosen by the data."""

    data: str
    known_classes: str | None = None
    model: str = "compact"
    image_size: int | None = None
    method: str = "softmax"
    method_options: dict[str, Any] = field(default_factory=dict)
    augmentation: str = "none"
    augmentation_options: dict[str, Any] = field(default_factory=dict)
    patch_side: float | None = None
    outliers: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    seed: int = 0
    detector: str | None = None
    accept: float = 0.95
    label_smoothing: float = 0.0
    pretrained: bool = False
    precision: str = "auto"


def fit_command(arguments: FitArguments, out: Path, *, resume: bool = False, workers: int = 2) -> FitReport:
    """Train, calibrate and write a run folder.

    Args:
        arguments: what was asked for.
        out: the run folder.
        resume: go on with the run that is there; begin where there is none yet.
        workers: threads or processes that decode.

    Raises:
        RunError: when the folder holds another run, or something else, or options changed.
    """
    begin = time.monotonic()
    console = make_console()
    check_out(out, arguments, resume)
    precision = begun_precision(out) if resume and arguments.precision == "auto" else arguments.precision
    source, held_out = load_training_data(arguments.data)
    names = arguments.known_classes.split(",") if arguments.known_classes else None
    numbers = choose_known(source.classes, [name.strip() for name in names] if names else None)
    classes = [source.classes[number] for number in numbers]
    image_size = auto_image_size(source) if arguments.image_size is None else arguments.image_size
    method_options = dict(arguments.method_options)
    if arguments.label_smoothing:
        method_options["label_smoothing"] = arguments.label_smoothing
    classifier = OpenSetClassifier(
        classes,
        model=arguments.model,
        method=arguments.method,
        image_size=image_size,
        detector=arguments.detector,
        accept=arguments.accept,
        pretrained=arguments.pretrained,
        precision=precision,
        seed=arguments.seed,
        method_options=method_options,
    )
    images = int((classifier.labels_for(source) >= 0).sum())
    options = auto_options(
        images,
        model=arguments.model,
        pretrained=arguments.pretrained,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        lr=arguments.lr,
        seed=arguments.seed,
        precision=precision,
    )
    accelerator = make_accelerator(options.precision, log_dir=out / "logs")
    chief = accelerator.is_main_process
    out.mkdir(parents=True, exist_ok=True)
    training = {"arguments": asdict(arguments), "training": asdict(options)}
    if chief and not (out / "config.yaml").is_file():
        write_text(out / "config.yaml", yaml.safe_dump({"format": FORMAT, "backmix": __version__, **training}))
    accelerator.init_trackers("")
    augmentation_options = dict(arguments.augmentation_options)
    if arguments.patch_side is not None:
        augmentation_options["patch_side"] = arguments.patch_side
    outliers = load_outliers(arguments.outliers, classes)
    leaked: list[str] = []
    if outliers is not None and not isinstance(outliers, str) and classifier.network.head.uses_outliers:
        leaked = shown_unknowns(outliers, arguments.data, source, classes)
    apart = int((classifier.labels_for(held_out) >= 0).sum()) if held_out is not None else None
    listed = 0

    def list_skipped(skipped: list[tuple[str, str]]) -> None:
        nonlocal listed
        for name, reason in skipped[listed:] if chief else []:
            console.print(f"skipped {name}: {reason}", style="yellow")
        listed = len(skipped)

    def on_start(options: TrainOptions, split: Split, skipped: list[tuple[str, str]]) -> None:
        if not chief:
            return
        console.print(
            f"{len(split.train)} images of {len(classes)} known classes to train on, "
            f"{len(split.held) if apart is None else apart} held out for calibration"
        )
        console.print(
            f"{arguments.model} at {image_size} px, {arguments.method}, augmentation {arguments.augmentation}, "
            f"{options.epochs} epochs of batch {options.batch_size}, {options.optimizer} with rate {options.lr:.3g}, "
            f"{options.precision}"
        )
        for note in notes(source):
            console.print(note, style="yellow")
        if leaked:
            some = ", ".join(leaked[:10]) + (", ..." if len(leaked) > 10 else "")
            console.print(
                f"outliers show {some}, which DATA has too: a test that calls these unknown is no test", style="yellow"
            )
        list_skipped(skipped)

    with training_bar(console, chief, accelerator) as (on_step, on_epoch):
        report = fit(
            classifier,
            source,
            options=options,
            augmentation=arguments.augmentation,
            augmentation_options=augmentation_options,
            outliers=outliers,
            held_out=held_out,
            workers=workers,
            accelerator=accelerator,
            checkpoint=out / CHECKPOINT,
            resume=resume,
            on_start=on_start,
            on_step=on_step,
            on_epoch=on_epoch,
        )
    accelerator.end_training()
    list_skipped(report.skipped)
    if chief:
        classifier.save(out, extra=training)
        write_json(
            out / "metrics.json",
            {
                "held_out_accuracy": report.held_out_accuracy,
                "images": {
                    "train": len(report.split.train),
                    "held_out": len(classifier.thresholds[classifier.detector].scores),
                },
                "seconds": round(time.monotonic() - begin, 1),
                "unreadable": [{"path": name, "reason": reason} for name, reason in report.skipped],
                "history": [asdict(entry) for entry in report.history],
            },
        )
        note = classifier.thresholds[classifier.detector].note
        if note:
            console.print(note, style="yellow")
        console.print(
            f"accuracy on held-out images {report.held_out_accuracy:.3f}; "
            f"{time.monotonic() - begin:.0f} s; written to {out}"
        )
    return report


def check_out(out: Path, arguments: FitArguments, resume: bool) -> None:
    """Raise RunError unless `out` may be written: new, empty, or the same training to resume."""
    if out.is_file():
        raise RunError(f"{out} is a file; --out is the folder of the run")
    if not resume:
        if out.is_dir() and any(out.iterdir()):
            raise RunError(f"{out} is not empty. Choose another --out, delete it, or go on with it by --resume.")
        return
    if not (out / "config.yaml").is_file():
        # Cut off before the first line was written: the same as a new run.
        if out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
            raise RunError(f"{out} holds other things and no run to resume. Choose another --out, or drop --resume.")
        return
    before = read_config(out).get("arguments") or {}
    now = asdict(arguments)
    free = ("detector", "accept")  # They come in when training is over, so another choice spoils nothing.
    changed = [
        f"{key}: {before.get(key)!r} -> {now[key]!r}" for key in now if key not in free and before.get(key) != now[key]
    ]
    if changed:
        raise RunError(
            f"cannot resume {out} with other options than it began with: {'; '.join(changed)}. "
            "Give the old options, or choose another --out."
        )


def begun_precision(out: Path) -> str:
    """The precision that a run began in: what "auto" comes to where it is resumed may be another."""
    training = read_config(out).get("training") if (out / "config.yaml").is_file() else None
    return str((training or {}).get("precision", "auto"))
