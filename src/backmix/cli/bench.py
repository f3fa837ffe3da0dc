"""`backmix bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.benchmark.grid_options import GridOptions
from backmix.cli.arguments import BenchArguments


def bench(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the grid; goes on where it was cut off.")],
    arguments: BenchArguments,
    options: GridOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the grid and how long it will take.")] = False,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on Ray: local, auto, or host:port of a cluster.")
    ] = None,
    cpus_per_cell: Annotated[float, typer.Option(min=0.0, help="On a cluster: processors that a cell takes.")] = 1.0,
    gpus_per_cell: Annotated[float, typer.Option(min=0.0, help="On a cluster: accelerators that a cell takes.")] = 0.0,
) -> None:
    """Train and test a grid of protocols, methods, augmentations and seeds; leaves results.csv, tables and a plot."""
    from backmix.cli.bench_command import bench_command

    report = bench_command(
        arguments,
        out,
        options,
        dry_run=dry_run,
        cluster=cluster,
        cpus_per_cell=cpus_per_cell,
        gpus_per_cell=gpus_per_cell,
    )
    if report is not None and report.failed:
        raise typer.Exit(1)
