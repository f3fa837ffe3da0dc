"""What the commands of the command line do, with what they print."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from backmix import __version__
from backmix.checkpoint import write_json, write_text
from backmix.classifier import OpenSetClassifier, Prediction
from backmix.data.folder import FolderSource
from backmix.data.images import IMAGE_EXTENSIONS, ImageError
from backmix.data.load import available_splits, choose_known, load_source
from backmix.data.source import ImageSource, Subset, count_per_class
from backmix.detectors import check_name
from backmix.errors import DataError, RunError
from backmix.fit import FitReport, Split, auto_options, fit
from backmix.recipe import TrainOptions
from backmix.run import FORMAT, read_config
from backmix.train import EpochReport, make_accelerator
from backmix.train import Progress as TrainProgress

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


def evaluate_command(
    run: Path,
    data: str,
    *,
    split: str | None = None,
    detectors: str | None = None,
    json_file: Path | None = None,
    workers: int = 2,
) -> dict[str, Any]:
    """Print, and write if asked, the figures of a run on a test set."""
    names = [name.strip() for name in detectors.split(",")] if detectors else None
    for name in names or []:
        if name != "all":
            check_name(name)
    classifier = OpenSetClassifier.load(run)
    splits = available_splits(data)
    source = load_source(data, split or ("test" if "test" in splits else splits[-1] if splits else None))
    console = make_console()
    with image_bar(console, len(source), "evaluating") as advance:
        result = classifier.evaluate(source, detectors=names, workers=workers, on_images=advance)
    config = read_config(run)
    result["run"] = {
        "backmix": config["backmix"],
        "arguments": config.get("arguments"),
        "training": config.get("training"),
        "seconds": read_seconds(run),
    }
    images = result["images"]
    for entry in result["unreadable"]:
        console.print(f"skipped {entry['path']}: {entry['reason']}", style="yellow")
    unknown = sorted({source.classes[k] for k in source.labels.tolist() if k >= 0} - set(classifier.classes))
    console.print(f"{images['known']} known images, {images['unknown']} unknown" + _named(unknown))
    if result["accuracy"] is None:
        console.print("No image of a known class: accuracy and AUROC cannot be given.")
    else:
        console.print(f"closed accuracy {100 * result['accuracy']:.1f} %")
    table = Table("detector", title="percent")
    for head in ("AUROC", "OSCR", "FPR95", "AUPR in", "AUPR out", "accepted", "rejected"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, entry in result["detectors"].items():
        keys = ("auroc", "oscr", "fpr95", "aupr_in", "aupr_out", "accepted_known", "rejected_unknown")
        mark = "*" if name == classifier.detector else ""
        table.add_row(name + mark, *("-" if entry.get(k) is None else f"{100 * entry[k]:.1f}" for k in keys))
    console.print(table)
    for reason in result["left_out"].values():
        console.print(f"left out: {reason}", style="yellow")
    console.print(
        f"accepted: of known images; rejected: of unknown ones; the threshold is to accept {classifier.accept:.0%} "
        "of known images. * decides."
    )
    if json_file is not None:
        write_json(json_file, result)
    return result


def predict_command(run: Path, paths: Sequence[Path], *, out: Path | None = None, top: int = 3) -> list[Prediction]:
    """Predict files and folders; print a table, or write CSV or JSON."""
    if out is not None and out.suffix not in (".csv", ".json"):
        raise ValueError(f"--out takes a .csv or .json file; got {out}")
    if out is not None and out.is_dir():
        raise ValueError(f"--out takes a file; {out} is a folder")
    files = list(image_files(paths))
    if not files:
        raise DataError(f"no image in {', '.join(map(str, paths))}; looked for {', '.join(sorted(IMAGE_EXTENSIONS))}")
    classifier = OpenSetClassifier.load(run)
    console = make_console()
    answers: list[Prediction] = []
    with image_bar(console, len(files), "predicting") as advance:
        for start in range(0, len(files), 1024):
            answers += classifier.predict(files[start : start + 1024], top=top)
            advance(len(answers))
    if out is None:
        table = Table()
        for head in ("path", "label", "unknown score", "p-value", "likeliest classes"):
            table.add_column(head, overflow="fold")  # A path that is cut off is no path.
        for answer in answers:
            table.add_row(*_row(answer))
        console.print(table)
    elif out.suffix == ".json":
        write_json(out, [asdict(answer) for answer in answers])
    else:
        write_text(out, predictions_csv(answers))
    failed = sum(answer.error is not None for answer in answers)
    unknown = sum(answer.label == "unknown" for answer in answers)
    console.print(
        f"{len(answers) - failed} images answered, {unknown} of them unknown"
        + (f"; {failed} unreadable" if failed else "")
        + (f"; written to {out}" if out else "")
    )
    return answers


def notes(source: ImageSource) -> list[str]:
    """Sentences about what a folder holds beside images of classes."""
    found: list[str] = source.notes() if isinstance(source, FolderSource) else []
    return found


def read_seconds(run: Path) -> float | None:
    """How long the training of a run took, where that is told."""
    try:
        seconds: float | None = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["seconds"]
        return seconds
    except (OSError, ValueError, KeyError, TypeError):
        return None


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


def load_training_data(data: str) -> tuple[ImageSource, ImageSource | None]:
    """The training images of DATA, and its validation images where it has a split for them."""
    splits = available_splits(data)
    train = load_source(data, "train" if "train" in splits else splits[0] if splits else None)
    held_out = next((name for name in ("val", "valid", "validation") if name in splits), None)
    return train, load_source(data, held_out) if held_out is not None and "train" in splits else None


def load_outliers(data: str | None, classes: Sequence[str]) -> str | ImageSource | None:
    """Images of no known class: those of DATA whose class is none of `classes`; "backgrounds" stays as it is.

    Raises:
        DataError: when DATA holds nothing but known classes.
    """
    if data is None or data == "backgrounds":
        return data
    splits = available_splits(data)
    source = load_source(data, "train" if "train" in splits else splits[0] if splits else None)
    known = torch.tensor([name in classes for name in source.classes] + [False])
    others = (~known[source.labels]).nonzero()[:, 0]
    if not len(others):
        raise DataError(f"--outliers {data}: all its images are of known classes ({', '.join(classes[:8])})")
    return Subset(source, others)


def shown_unknowns(outliers: ImageSource, data: str, source: ImageSource, classes: Sequence[str]) -> list[str]:
    """Classes that the outliers show and DATA has too, in training images or, of a folder, in any split of it.

    Args:
        outliers: the images of no known class.
        data: DATA as it was typed.
        source: its training images.
        classes: the known ones, which are left out.
    """
    names = set(source.classes)
    if isinstance(source, FolderSource):  # Splits of other data may have to be fetched first.
        for split in available_splits(data):
            with suppress(DataError):  # A split that cannot be used is for those to hear of who ask for it.
                names |= set(load_source(data, split).classes)
    return [name for name, count in count_per_class(outliers).items() if count and name in names - set(classes)]


def auto_image_size(source: ImageSource) -> int:
    """Side for these images: the median shorter side of some, in steps of 32, between 32 and 224."""
    sides: list[int] = []
    first: ImageError | None = None
    spread = range(0, len(source), max(1, len(source) // 16))
    for position in (*spread, *range(len(source))):
        if len(sides) == len(spread):
            break
        try:
            sides.append(min(source.read(position).size))
        except ImageError as error:
            first = first or error
    if not sides:
        raise DataError(f"none of the {len(source)} images can be read. The first: {first}")
    median = sorted(sides)[len(sides) // 2]
    return max(32, min(224, 32 * round(median / 32)))


def image_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Files as given, whatever they are called, and the images in folders, in the order of their names."""
    for path in paths:
        if not os.path.isdir(path):  # Path.is_dir raises for names that are too long or out of reach.
            yield path
            continue
        for folder, folders, files in os.walk(path):
            folders.sort()
            for name in sorted(files):
                if Path(name).suffix.lower() in IMAGE_EXTENSIONS and not name.startswith("."):
                    yield Path(folder, name)


def predictions_csv(answers: Sequence[Prediction]) -> str:
    """One row an image: path, label, unknown_score, p_value, top, error."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["path", "label", "unknown_score", "p_value", "top", "error"])
    for answer in answers:
        top = " ".join(f"{name}:{probability:.4f}" for name, probability in answer.top)
        cells = [answer.path, answer.label or "", top, answer.error or ""]
        path, label, top, error = (_harmless(cell) for cell in cells)
        score = "" if answer.unknown_score is None else f"{answer.unknown_score:.6g}"
        p_value = "" if answer.p_value is None else f"{answer.p_value:.6g}"
        writer.writerow([path, label, score, p_value, top, error])
    return text.getvalue()


def make_console() -> Console:
    """A console that prints names as they are, and lines whole where nobody sees a terminal's edge."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = 200
    return console


@contextmanager
def training_bar(console: Console, chief: bool, accelerator: Accelerator) -> Iterator[tuple[Any, Any]]:
    """A progress bar with loss, accuracy and time left; a line an epoch where there is no terminal."""
    bar = Progress(
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.3f}"),
        TimeRemainingColumn(),
        console=console,
        disable=not (chief and console.is_terminal),
    )
    task = bar.add_task("training", total=None, epoch=1, loss=float("nan"), accuracy=float("nan"))
    smooth: list[float] = []

    def on_step(progress: TrainProgress) -> None:
        now = [progress.loss, progress.accuracy]
        smooth[:] = [0.95 * old + 0.05 * new for old, new in zip(smooth or now, now, strict=True)]
        bar.update(
            task,
            completed=progress.step,
            total=progress.steps,
            epoch=progress.epoch + 1,
            loss=smooth[0],
            accuracy=smooth[1],
        )

    def on_epoch(report: EpochReport) -> None:
        accelerator.log({"loss": report.loss, "accuracy": report.accuracy, "lr": report.lr}, step=report.epoch + 1)
        if chief and not console.is_terminal:
            console.print(f"epoch {report.epoch + 1}: loss {report.loss:.3f}, accuracy {report.accuracy:.3f}")

    with bar:
        yield on_step, on_epoch


@contextmanager
def image_bar(console: Console, total: int, what: str) -> Iterator[Any]:
    """A progress bar over images; yields a function to call with the number of images done."""
    with Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _row(answer: Prediction) -> list[str]:
    if answer.error is not None:
        return [answer.path, "-", "", "", answer.error]
    top = ", ".join(f"{name} {probability:.2f}" for name, probability in answer.top)
    p_value = "" if answer.p_value is None else f"{answer.p_value:.3f}"
    return [answer.path, answer.label or "", f"{answer.unknown_score:.3f}", p_value, top]


def _harmless(cell: str) -> str:
    """A cell that spreadsheet programs do not take for a formula."""
    return "'" + cell if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _named(classes: Sequence[str]) -> str:
    if not classes:
        return ""
    shown = ", ".join(classes[:10])
    return f" ({shown}{', ...' if len(classes) > 10 else ''})"
