"""`backmix bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.options import Precision, Workers, read_names, read_numbers


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
    from backmix.cli.bench_command import BenchArguments, bench_command
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
