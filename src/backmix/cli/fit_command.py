"""`backmix fit`: train, calibrate, write a run folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from backmix.classifier import OpenSetClassifier
from backmix.cli.console import image_bar, make_console, training_bar
from backmix.cli.fit_words import said_of_start, said_of_test
from backmix.data.split import Split
from backmix.errors import RunError
from backmix.files import write_json, write_text
from backmix.fit.arguments import FitArguments, resolved_yaml
from backmix.fit.budget import epochs_within, read_duration
from backmix.fit.choices import ModelChoice, choose_model
from backmix.fit.data import held_out_shares, is_uneven, notes, open_data, shown_unknowns, test_figures
from backmix.fit.training import FitReport, auto_options, fit
from backmix.outliers.dataset import load_outliers
from backmix.runs.folder import FORMAT, read_config
from backmix.runs.held_out import write_shares
from backmix.train.loop import make_accelerator
from backmix.train.recipe import TrainOptions
from backmix.version import __version__

CHECKPOINT = "checkpoint.pt"


def fit_command(arguments: FitArguments, out: Path, *, resume: bool = False, workers: int = 2) -> FitReport:
    """Train, calibrate, test and write a run folder.

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
    seconds = read_duration(arguments.budget) if arguments.budget else None
    if seconds is not None and arguments.epochs is not None:
        raise ValueError("--budget and --epochs both say how long to train; give one of them")
    begun = begun_choices(out) if resume else {}
    precision = begun.get("precision", "auto") if arguments.precision == "auto" else arguments.precision
    accelerator = make_accelerator(precision, log_dir=out / "logs")
    chief = accelerator.is_main_process
    data = open_data(
        arguments.data,
        known_classes=arguments.known_classes,
        image_size=begun.get("image_size", arguments.image_size),
        holdout=arguments.holdout,
        test_share=arguments.test_share,
        near_duplicates=arguments.near_duplicates,
        accept=arguments.accept,
        image_bar=partial(image_bar, console) if chief else None,
        workers=workers,
    )

    def choose() -> ModelChoice:
        if "model" in begun:
            return ModelChoice(begun["model"], begun["pretrained"], "as the run was begun")
        return choose_model(
            data.image_size,
            model=arguments.model,
            pretrained=arguments.pretrained,
            accelerator=accelerator.device.type != "cpu",
        )

    # What is within reach may differ from one process to the next: one of them looks, and all follow.
    model = of_chief(choose, accelerator)
    method_options = dict(arguments.method_options)
    if arguments.label_smoothing:
        method_options["label_smoothing"] = arguments.label_smoothing
    classifier = OpenSetClassifier(
        data.classes,
        model=model.model,
        method=arguments.method,
        image_size=data.image_size,
        detector=arguments.detector,
        accept=arguments.accept,
        pretrained=model.pretrained,
        precision=precision,
        seed=arguments.seed,
        method_options=method_options,
    )
    known = classifier.labels_for(data.source)

    def options_for(epochs: int | None) -> TrainOptions:
        return auto_options(
            int((known >= 0).sum()),
            model=model.model,
            pretrained=model.pretrained,
            epochs=epochs,
            batch_size=arguments.batch_size,
            lr=arguments.lr,
            seed=arguments.seed,
            precision=precision,
        )

    options = options_for(begun.get("epochs") or arguments.epochs)
    out.mkdir(parents=True, exist_ok=True)

    def record(options: TrainOptions) -> dict[str, Any]:
        chosen = {"model": model.model, "pretrained": model.pretrained, "image_size": data.image_size}
        training = {"arguments": asdict(arguments), "chosen": chosen, "training": asdict(options)}
        if chief and "files" not in (read_config(out) if (out / "config.yaml").is_file() else {}):
            write_text(out / "config.yaml", yaml.safe_dump({"format": FORMAT, "backmix": __version__, **training}))
        return training

    def plan(measure: Callable[[TrainOptions], float], options: TrainOptions) -> TrainOptions:
        assert seconds is not None
        measured = measure(options)
        epoch_seconds, left = of_chief(lambda: (measured, seconds - (time.monotonic() - begin)), accelerator)
        epochs = epochs_within(left, epoch_seconds, most=options.epochs)
        if chief and epoch_seconds > left:
            console.print(
                f"one epoch takes about {epoch_seconds:.0f} s, and {max(0.0, left):.0f} s are left of "
                f"{arguments.budget}: it will take longer. A smaller --image-size or --model compact-s is quicker.",
                style="yellow",
            )
        chosen = options_for(epochs)
        record(chosen)
        return chosen

    training = record(options)
    accelerator.init_trackers("")
    augmentation_options = dict(arguments.augmentation_options)
    if arguments.patch_side is not None:
        augmentation_options["patch_side"] = arguments.patch_side
    outliers = load_outliers(arguments.outliers, data.classes)
    leaked: list[str] = []
    if outliers is not None and not isinstance(outliers, str) and classifier.network.head.uses_outliers:
        leaked = shown_unknowns(outliers, arguments.data, data.source, data.classes)
    balance = is_uneven(known) if arguments.balance is None else arguments.balance
    listed = 0

    def list_skipped(skipped: list[tuple[str, str]]) -> None:
        nonlocal listed
        for name, reason in skipped[listed:] if chief else []:
            console.print(f"skipped {name}: {reason}", style="yellow")
        listed = len(skipped)

    def on_start(options: TrainOptions, split: Split, skipped: list[tuple[str, str]]) -> None:
        nonlocal training
        training = record(options)
        if not chief:
            return
        for line in said_of_start(arguments, data, model, options, split, balance, classifier):
            console.print(line)
        for note in notes(data.source):
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
            data.source,
            options=options,
            augmentation=arguments.augmentation,
            augmentation_options=augmentation_options,
            outliers=outliers,
            held_out=data.held_out,
            holdout=data.holdout,
            test_share=data.test_share,
            groups=data.groups,
            balance=balance,
            workers=workers,
            accelerator=accelerator,
            plan=plan if seconds is not None and not begun.get("epochs") else None,
            checkpoint=out / CHECKPOINT,
            resume=resume,
            on_start=on_start,
            on_step=on_step,
            on_epoch=on_epoch,
        )
    accelerator.end_training()
    list_skipped(report.skipped)
    if chief:
        shares = held_out_shares(arguments.data, data, report.split, known)
        write_shares(out, shares)
        classifier.save(out, extra=training)
        test = test_figures(classifier, shares, workers)
        skipped = report.skipped + [(entry["path"], entry["reason"]) for entry in (test or {}).get("unreadable", [])]
        list_skipped(skipped)
        held = classifier.thresholds[classifier.detector]
        write_json(
            out / "metrics.json",
            {
                "held_out_accuracy": report.held_out_accuracy,
                "images": {
                    "train": len(report.split.train),
                    "held_out": len(held.scores),
                    "test": test and test["images"]["known"],
                },
                "seconds": round(time.monotonic() - begin, 1),
                "unreadable": [{"path": name, "reason": reason} for name, reason in skipped],
                "history": [asdict(entry) for entry in report.history],
                "test": test,
            },
        )
        options = TrainOptions(**training["training"])
        write_text(out / "fit.yaml", resolved_yaml(arguments, data, model, options, classifier.detector, balance))
        if held.note:
            console.print(held.note, style="yellow")
        console.print(f"accuracy on held-out images {report.held_out_accuracy:.3f}")
        for line in said_of_test(test, classifier):
            console.print(line)
        console.print(f"{time.monotonic() - begin:.0f} s; written to {out}")
    return report


T = TypeVar("T")


def of_chief(find: Callable[[], T], accelerator: Accelerator) -> T:
    """What the first of several processes finds, on all of them."""
    found: list[Any] = [find() if accelerator.is_main_process else None]
    if accelerator.num_processes > 1:
        broadcast_object_list(found)
    return found[0]  # type: ignore[no-any-return]


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
    now = asdict(arguments)
    # Runs of earlier versions say nothing of options that there were not.
    before = {**asdict(FitArguments("")), **(read_config(out).get("arguments") or {})}
    free = ("detector", "accept")  # They come in when training is over, so another choice spoils nothing.
    changed = [
        f"{key}: {before.get(key)!r} -> {now[key]!r}" for key in now if key not in free and before.get(key) != now[key]
    ]
    if changed:
        raise RunError(
            f"cannot resume {out} with other options than it began with: {'; '.join(changed)}. "
            "Give the old options, or choose another --out."
        )


def begun_choices(out: Path) -> dict[str, Any]:
    """What a run was begun with: what is chosen by the machine may come out differently where it is resumed."""
    config = read_config(out) if (out / "config.yaml").is_file() else {}
    training, chosen = config.get("training") or {}, config.get("chosen") or {}
    checkpoint = (out / CHECKPOINT).is_file()
    return {
        **{key: training[key] for key in ("precision",) if key in training},
        **({"epochs": training["epochs"]} if checkpoint and "epochs" in training else {}),
        **chosen,
    }
