"""The command line: parse, call, print."""

from __future__ import annotations

import io
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="backmix",
    help="Open-set image recognition that does not cheat on backgrounds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Precision(StrEnum):
    """Names of precisions."""

    auto = "auto"
    bf16 = "bf16"
    fp32 = "fp32"


Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder of class folders (with train/val/test inside or not), a folder of Parquet files, a hub id "
        "owner/name, or digits[:prior=0.8], the embedded set.",
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder a training left behind.")]
Workers = Annotated[int, typer.Option(min=1, help="Threads or processes that decode images.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the figures and the picture.")] = Path("runs/demo"),
    prior: Annotated[float, typer.Option(min=0.0, max=1.0, help="How often a digit stands on its own texture.")] = 0.8,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each kind.")] = 3,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training set. Default: 9.")] = None,
) -> None:
    """Train with and without BackMix on the embedded digits; leaves metrics.json and a picture."""
    from backmix.demo import run_demo

    run_demo(out, prior=prior, seeds=seeds, epochs=epochs)


@app.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run.")],
    known_classes: Annotated[
        str | None, typer.Option(help="Known classes by name or number, as a,b,c; the rest is left out. Default: all.")
    ] = None,
    model: Annotated[str, typer.Option(help="compact, compact-s, vgg32, wrn-40-4, resnet18-small, or a timm name.")] = (
        "compact"
    ),
    image_size: Annotated[int | None, typer.Option(help="Side in pixels. Default: by the images, at most 224.")] = None,
    method: Annotated[
        str,
        typer.Option(
            help="Training objective: softmax, gcpl, rpl, arpl, arpl-cs, pcssr, rcssr, proser, cac, entropic, "
            "objectosphere, outlier-exposure, conosr, negcossch, rotation."
        ),
    ] = "softmax",
    method_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the method; may be given again.")
    ] = None,
    augmentation: Annotated[
        str,
        typer.Option(
            help="What is done to a training batch: none, backmix, swap, mixup, cutmix, cutout, gridmask, "
            "hide-and-seek, mixstyle, randaugment, or several, as randaugment+backmix."
        ),
    ] = "none",
    augmentation_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="An option of the augmentation, such as foreground=clean; may be given again."
        ),
    ] = None,
    outliers: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Images of no known class for methods that learn from them, or 'backgrounds': the training images "
            "with their objects masked.",
        ),
    ] = None,
    patch_side: Annotated[
        float | None, typer.Option(help="BackMix: side of a patch as a share of the image's. Default: 0.25.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set. Default: by its size.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step. Default: by the set's size.")] = None,
    lr: Annotated[float | None, typer.Option(help="Largest learning rate. Default: by the model.")] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Unknown score that decides: method (its own), max_logit, msp, energy, openmax, knn, vim, ...; see "
            "docs/detectors.md. Default: max_logit for softmax, method for others."
        ),
    ] = None,
    accept: Annotated[float, typer.Option(help="Share of known images that the threshold is to accept.")] = 0.95,
    label_smoothing: Annotated[float, typer.Option(help="Smoothing of the training targets.")] = 0.0,
    pretrained: Annotated[bool, typer.Option(help="Start from published weights (timm models).")] = False,
    precision: Annotated[
        Precision, typer.Option(help="Arithmetic of training and prediction; auto: what this machine is quicker in.")
    ] = Precision.auto,
    workers: Workers = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
) -> None:
    """Train a classifier that can say "unknown", and calibrate it on images held out."""
    from backmix.commands.fit import FitArguments, fit_command

    fit_command(
        FitArguments(
            data=data,
            known_classes=known_classes,
            model=model,
            image_size=image_size,
            method=method,
            method_options=read_options(method_option),
            augmentation=augmentation,
            augmentation_options=read_options(augmentation_option),
            outliers=outliers,
            patch_side=patch_side,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            seed=seed,
            detector=detector,
            accept=accept,
            label_smoothing=label_smoothing,
            pretrained=pretrained,
            precision=precision.value,
        ),
        out,
        resume=resume,
        workers=workers,
    )


@app.command()
def evaluate(
    run: Run,
    data: Data,
    split: Annotated[str | None, typer.Option(help="Split of DATA. Default: test where there is one.")] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Detectors to show, as a,b,c, or all. Default: those that need no further package, and the one that "
            "decides."
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures here.")
    ] = None,
    workers: Workers = 2,
) -> None:
    """Figures on a test set; classes of DATA that the run does not know count as unknown."""
    from backmix.commands.evaluate import evaluate_command

    evaluate_command(run, data, split=split, detectors=detector, json_file=json_file, workers=workers)


@app.command()
def predict(
    run: Run,
    paths: Annotated[list[Path], typer.Argument(metavar="PATHS...", help="Images, or folders of images.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write .csv or .json instead of a table.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the likeliest classes to tell.")] = 3,
) -> None:
    """Answer for each image a class name or "unknown"."""
    from backmix.commands.predict import predict_command

    predict_command(run, paths, out=out, top=top)


@app.command()
def bench(
    protocols: Annotated[
        list[str],
        typer.Argument(
            metavar="PROTOCOL...",
            help="mnist, svhn, cifar10, cifar+10, cifar+50, tiny-imagenet, cifar10-ood, cub, stanford-cars, "
            "fgvc-aircraft, imagenet-1k, or digits[:prior=0.8], the embedded set.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the grid; goes on where it was cut off.")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="ROOT", help="Folder with a local copy of each data set. Default: the Hugging Face hub."),
    ] = None,
    split_list: Annotated[
        str | None, typer.Option(help="Lists of known classes: arpl, neal, f1 or cssr. Default: by the protocol.")
    ] = None,
    trials: Annotated[str | None, typer.Option(help="Which lists, as a,b,c. Default: all.")] = None,
    methods: Annotated[str, typer.Option(help="Training objectives, as a,b,c, or all.")] = "softmax",
    augmentations: Annotated[str, typer.Option(help="As a,b,c.")] = "none,backmix",
    seeds: Annotated[str, typer.Option(help="As 0,1,2.")] = "0",
    recipe: Annotated[str, typer.Option(help="How to train: cpu, fast, paper or closed-set.")] = "cpu",
    ablation: Annotated[
        str | None, typer.Option(help="Also BackMix with one option moved, such as patch-side, or all of them.")
    ] = None,
    detectors: Annotated[str, typer.Option(help="Unknown scores to give figures of.")] = "method,max_logit,msp,energy",
    unknown_sets: Annotated[
        str | None, typer.Option(help="Which unknown sets of the protocol. Default: those whose images are there.")
    ] = None,
    outliers: Annotated[
        str, typer.Option(help="What methods that learn from outliers take: 'backgrounds', or DATA as for fit.")
    ] = "backgrounds",
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    precision: Annotated[Precision, typer.Option(help="As for fit.")] = Precision.auto,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the grid and how long it will take.")] = False,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on Ray: local, auto, or host:port of a cluster.")
    ] = None,
    cpus_per_cell: Annotated[float, typer.Option(min=0.0, help="On a cluster: processors that a cell takes.")] = 1.0,
    gpus_per_cell: Annotated[float, typer.Option(min=0.0, help="On a cluster: accelerators that a cell takes.")] = 0.0,
    workers: Workers = 2,
) -> None:
    """Train and test a grid of protocols, methods, augmentations and seeds; leaves results.csv, tables and a plot."""
    from backmix.benchmark.cell import GridOptions
    from backmix.commands.bench import BenchArguments, bench_command
    from backmix.methods import METHODS

    report = bench_command(
        BenchArguments(
            protocols=tuple(protocols),
            split_list=split_list,
            trials=read_names(trials),
            methods=tuple(METHODS) if methods == "all" else read_names(methods) or (),
            augmentations=read_names(augmentations) or (),
            seeds=read_numbers(seeds),
            recipe=recipe,
            ablation=ablation,
        ),
        out,
        GridOptions(
            root=data,
            detectors=read_names(detectors) or (),
            unknown_sets=read_names(unknown_sets),
            outliers=outliers,
            epochs=epochs,
            precision=precision.value,
            workers=workers,
        ),
        dry_run=dry_run,
        cluster=cluster,
        cpus_per_cell=cpus_per_cell,
        gpus_per_cell=gpus_per_cell,
    )
    if report is not None and report.failed:
        raise typer.Exit(1)


@app.command()
def tables(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="results.csv files, or folders of them.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Also write the tables and the plot here.")] = None,
    detector: Annotated[str | None, typer.Option(help="Show this one alone. Default: method.")] = None,
) -> None:
    """Means, differences and published figures from the results of `backmix bench`."""
    from backmix.commands.tables import tables_command

    tables_command(results, out=out, detector=detector)


def read_names(given: str | None) -> tuple[str, ...] | None:
    """Names as a,b,c; None stays."""
    return None if given is None else tuple(name.strip() for name in given.split(",") if name.strip())


def read_numbers(given: str) -> tuple[int, ...]:
    """Whole numbers as 0,1,2."""
    try:
        return tuple(int(number) for number in given.split(","))
    except ValueError:
        raise typer.BadParameter(f"{given!r} is no list of whole numbers such as 0,1,2") from None


def read_options(given: list[str] | None) -> dict[str, Any]:
    """KEY=VALUE pairs as a dictionary; values are read as YAML, so that numbers and true become what they look like."""
    import yaml

    options: dict[str, Any] = {}
    for pair in given or []:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{pair!r} is no KEY=VALUE")
        options[key.replace("-", "_")] = yaml.safe_load(value)
    return options


def main() -> None:
    """Entry point: errors made for people end in one line on stderr and exit status 1."""
    from backmix.errors import BackmixError

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # File names need not be text.
    try:
        app()
    except (BackmixError, ValueError, OSError) as error:
        # What we raise is written for people; a traceback would bury it.
        print(f"backmix: {' '.join(str(error).splitlines())}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("backmix: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
