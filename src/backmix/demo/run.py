"""The demonstration: the effect of BackMix on digits that stand on textures which reveal their class."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from backmix.classifier import OpenSetClassifier
from backmix.data.digits import CONTRAST, DigitsOnTextures
from backmix.demo.mixing_picture import mixing_picture
from backmix.files import make_folder, write_json
from backmix.fit.digits import COPIES, EPOCHS, IMAGE_SIZE, MODEL, OPTIONS
from backmix.fit.fit_report import FitReport
from backmix.fit.training import fit
from backmix.models.precision import resolve_precision
from backmix.pages.progress import progress_bars
from backmix.train.loop import make_accelerator

AUGMENTATIONS = ("none", "backmix")
FIGURES = ("accuracy", "auroc", "oscr", "fpr95")


def run_demo(
    out: Path,
    *,
    prior: float = 0.8,
    seeds: int = 3,
    epochs: int | None = None,
    precision: str = "fp32",
    console: Console | None = None,
) -> dict[str, Any]:
    """Train with and without BackMix on the embedded digits, and compare the results.

    The digits 0 to 5 are known, and 6 to 9 are unknown. A known digit stands on the texture of its class at the rate
    `prior`. Unknown digits stand on the same textures. For each seed, both kinds of training share the initial weights,
    the order and the crops. Nothing is tuned on the test images.

    Args:
        out: The folder for metrics.json and mixing.png.
        prior: The rate at which the texture goes with the class.
        seeds: The number of trainings of each kind.
        epochs: The number of passes over the training set. None: `EPOCHS`.
        precision: "fp32", which gives nearly the same results on any machine; "bf16"; or "auto", which chooses the
            faster one on this machine.
        console: The console to print on. None: A new one.

    Returns:
        The content of metrics.json: `none` and `backmix`, each with auroc, oscr, fpr95 and accuracy as mean, sd and
        values; the `difference` of the two for each seed; `setting`; `seconds`.
    """
    begin = time.monotonic()
    console = console or Console()
    make_folder(out)  # A folder that cannot be made is told before anything is trained.
    console.print(
        f"Handwritten digits on textures. A known digit (0-5) stands on its own texture {prior:.0%} of the time;\n"
        f"unknown digits (6-9) stand on the same textures. {seeds} trainings without BackMix, {seeds} with it."
    )
    values: dict[str, dict[str, list[float]]] = {name: {figure: [] for figure in FIGURES} for name in AUGMENTATIONS}
    options = replace(OPTIONS, epochs=epochs or EPOCHS, precision=resolve_precision(precision))
    picture: tuple[OpenSetClassifier, DigitsOnTextures, FitReport] | None = None
    with progress_bars(console, transient=True) as bar:
        task = bar.add_task("training", total=seeds * len(AUGMENTATIONS) * options.epochs)
        for seed in range(seeds):
            train = DigitsOnTextures("train", prior=prior, copies=COPIES, seed=seed)
            for name in AUGMENTATIONS:
                classifier = OpenSetClassifier(list(train.known), model=MODEL, image_size=IMAGE_SIZE, seed=seed)
                report = fit(
                    classifier,
                    train,
                    options=replace(options, seed=seed),
                    augmentation=name,
                    held_out=DigitsOnTextures("val", prior=prior, seed=seed),
                    accelerator=make_accelerator(options.precision),
                    on_epoch=lambda _: bar.advance(task),
                )
                result = classifier.evaluate(DigitsOnTextures("test", prior=prior, copies=2, seed=seed))
                score = result["detectors"]["max_logit"]
                for figure in FIGURES:
                    values[name][figure].append(result["accuracy"] if figure == "accuracy" else score[figure])
                if not console.is_terminal:
                    console.print(f"seed {seed}, {name}: AUROC {score['auroc']:.4f}")
                if name == "backmix" and picture is None:
                    picture = classifier, train, report
    assert picture is not None
    metrics: dict[str, Any] = {
        name: {figure: _summary(found) for figure, found in entry.items()} for name, entry in values.items()
    }
    metrics["difference"] = {
        figure: _summary([b - a for a, b in zip(values["none"][figure], values["backmix"][figure], strict=True)])
        for figure in FIGURES
    }
    metrics["setting"] = {
        "prior": prior,
        "seeds": seeds,
        "model": MODEL,
        "image_size": IMAGE_SIZE,
        "copies": COPIES,
        "contrast": CONTRAST,
        "detector": "max_logit",
        "known": "0-5",
        "unknown": "6-9",
        "training": options.to_dict(),
        "backmix": repr(picture[2].augmentation),
    }
    mixing_picture(*picture, out / "mixing.png")
    metrics["seconds"] = round(time.monotonic() - begin, 1)
    write_json(out / "metrics.json", metrics)
    _print(console, metrics, seeds)
    console.print(f"{metrics['seconds']:.0f} s. Figures: {out / 'metrics.json'}; picture: {out / 'mixing.png'}")
    return metrics


def _summary(values: list[float]) -> dict[str, Any]:
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "values": values}


def _print(console: Console, metrics: dict[str, Any], seeds: int) -> None:
    table = Table("", "AUROC", "OSCR", "FPR95", "closed accuracy", title=f"mean ± sd of {seeds} seeds, score max logit")
    for name in (*AUGMENTATIONS, "difference"):
        cells = []
        for figure in ("auroc", "oscr", "fpr95", "accuracy"):
            entry = metrics[name][figure]
            sign = "+" if name == "difference" else ""
            spread = "" if entry["sd"] is None else f" ± {100 * entry['sd']:.1f}"
            cells.append(f"{100 * entry['mean']:{sign}.1f}{spread}")
        table.add_row(name, *cells)
    console.print(table)
