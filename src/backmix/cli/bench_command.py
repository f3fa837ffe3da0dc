"""The work of `backmix bench`: run a grid of trainings, and write its results file and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from backmix.augmentations import make_augmentation
from backmix.benchmark.cell import finished, plan_cell
from backmix.benchmark.class_names import words
from backmix.benchmark.estimate import estimate_seconds
from backmix.benchmark.grid import Cell, find_ablation, make_grid
from backmix.benchmark.grid_options import GridOptions
from backmix.benchmark.protocols import Trial, find_protocol
from backmix.benchmark.recipes import find_recipe
from backmix.benchmark.runner import RESULTS, GridReport, cell_folder, run_grid
from backmix.benchmark.view import GridView, duration
from backmix.cli.arguments import BenchArguments
from backmix.cli.console import make_console
from backmix.cli.stop_signals import advice_when_stopped
from backmix.cli.tables_command import print_tables, write_tables
from backmix.data.preprocess import Preprocess
from backmix.detectors import check_name
from backmix.errors import some_of
from backmix.methods import METHODS
from backmix.pages.words import plain_percent


def bench_command(
    arguments: BenchArguments,
    out: Path,
    options: GridOptions,
    *,
    dry_run: bool = False,
    cluster: str | None = None,
    cpus_per_cell: float = 1,
    gpus_per_cell: float = 0,
) -> GridReport | None:
    """Run a grid, and write results.csv, tables and a plot into `out`; or only print the grid.

    Args:
        arguments: The arguments that define the grid.
        out: The folder of the grid; cells that are finished there are not run again.
        options: The options that all cells share.
        dry_run: Whether to print the grid with an estimate of the time, and run nothing.
        cluster: "local" or the address of a Ray cluster; None: the cells run one after the other in this process.
        cpus_per_cell: The number of processors that a cell takes on a cluster.
        gpus_per_cell: The number of accelerators that a cell takes on a cluster.

    Returns:
        The report of the grid, or None for a dry run.

    Raises:
        ValueError, DataError: If a name does not exist; nothing has run then.
    """
    console = make_console()
    trials = choose_trials(arguments)
    cells = make_cells(arguments, trials)
    for method in dict.fromkeys(cell.method for cell in cells):
        find_recipe(arguments.recipe).check(method, options.epochs)
    for detector in options.detectors:
        check_name(detector)
    print_trials(console, trials)
    if dry_run:
        print_grid(console, cells, out, options)
        return None
    before = sum(finished(cell_folder(out, cell)) is not None for cell in cells)
    console.print(f"{len(cells)} cells, {before} of them finished; recipe {arguments.recipe}; folder {out}")
    with (
        advice_when_stopped(lambda: f"finished cells and epochs are kept in {out}; the same command goes on"),
        GridView(console, len(cells), before) as view,
    ):
        if cluster is None:
            report = run_grid(cells, out, options, watcher=view)
        else:
            from backmix.benchmark.cluster import run_on_cluster

            report = run_on_cluster(
                cells,
                out,
                options,
                address=cluster,
                cpus_per_cell=cpus_per_cell,
                gpus_per_cell=gpus_per_cell,
                watcher=view,
            )
    asked = {cell.name for cell in cells}
    rows = [row for row in report.rows if _cell_of(row).name in asked]
    if rows:
        print_tables(console, rows)
        written = write_tables(out, report.rows)
        console.print("written: " + ", ".join(str(path) for path in (out / RESULTS, *written)))
    measured = (finished(cell_folder(out, cell)) for cell in cells)
    for note in dict.fromkeys(note for metrics in measured if metrics is not None for note in metrics.get("notes", ())):
        console.print(f"note: {note}", style="yellow")
    for name, error in report.failed.items():
        console.print(f"failed: {name}: {error}; all of it in {out / 'cells' / name / 'error.txt'}", style="red")
    if report.failed:
        console.print("The same command tries what failed once more.", style="red")
    return report


def choose_trials(arguments: BenchArguments) -> list[Trial]:
    """Return the trials that the arguments name.

    Raises:
        ValueError, DataError: If a protocol, list or trial does not exist. The message names the existing ones.
    """
    found: list[Trial] = []
    for name in arguments.protocols:
        protocol = find_protocol(name)
        there = protocol.trials(arguments.split_list if arguments.split_list is not None else protocol.default_list)
        wrong = [trial for trial in arguments.trials or () if trial not in there]
        if wrong:
            raise ValueError(f"{name} has no trial {wrong[0]!r}; there are {', '.join(there)}")
        found += [there[trial] for trial in arguments.trials or there]
    return found


def make_cells(arguments: BenchArguments, trials: Sequence[Trial]) -> list[Cell]:
    """Return the cells of the grid over these trials, after a check of every name.

    Raises:
        ValueError: If a method, augmentation, recipe or ablation does not exist.
    """
    recipe = find_recipe(arguments.recipe)
    methods = recipe.methods if arguments.methods == ("all",) else arguments.methods
    wrong = [name for name in methods if name not in METHODS]
    if wrong:
        raise ValueError(f"no method {wrong[0]!r}; there are {', '.join(METHODS)}")
    untrained = [name for name in methods if METHODS[name].learns_at_once and not recipe.frozen]
    if untrained:
        raise ValueError(
            f"{untrained[0]} has no loss, and recipe {arguments.recipe} trains all weights; there are "
            f"{', '.join(recipe.methods)}"
        )
    for name in arguments.augmentations:
        make_augmentation(name, 1, Preprocess(32))
    lists: dict[tuple[str, str], list[str]] = {}
    for trial in trials:
        lists.setdefault((trial.protocol, trial.split_list), []).append(trial.name)
    return make_grid(
        [(protocol, split_list, names) for (protocol, split_list), names in lists.items()],
        methods=methods,
        augmentations=arguments.augmentations,
        variants=find_ablation(arguments.ablation) if arguments.ablation is not None else (),
        seeds=arguments.seeds,
        recipe=arguments.recipe,
    )


def print_trials(console: Console, trials: Sequence[Trial]) -> None:
    """Print the classes and the fingerprint of each trial, and the notes on the trials."""
    table = Table("trial", "fingerprint", "known", "unknown", "openness", "known classes")
    for trial in trials:
        named = words(trial.train.data)
        known = [named.get(name, name) for name in trial.known.classes]
        unknown = sum(len(part.classes) for part in trial.unknown.values())
        table.add_row(
            " ".join(part for part in (trial.protocol, trial.split_list, trial.name) if part),
            trial.fingerprint,
            str(len(trial.known.classes)),
            str(unknown),
            plain_percent(trial.openness),
            some_of(known, 12),
        )
    console.print(table)
    for note in dict.fromkeys(note for trial in trials for note in trial.notes):
        console.print(f"note: {note}", style="yellow")


def print_grid(console: Console, cells: Sequence[Cell], out: Path, options: GridOptions) -> None:
    """Print every cell with its state, and the time that the unfinished cells will take on this machine."""
    left = [cell for cell in cells if finished(cell_folder(out, cell)) is None]
    console.print("measuring a few steps of each kind of cell ...")
    seconds = estimate_seconds(left, options)
    table = Table("cell", "model", "images", "epochs", "batch")
    table.add_column("state", justify="right")
    for cell in cells:
        setting: Any = plan_cell(cell, options).setting
        state = f"about {duration(seconds[cell.name])}" if cell.name in seconds else "finished"
        table.add_row(
            cell.name,
            setting.model,
            str(setting.images),
            str(setting.epochs),
            "-" if setting.frozen else str(setting.options.batch_size),
            state,
        )
    console.print(table)
    console.print(
        f"{len(cells)} cells, {len(left)} to run: about {duration(sum(seconds.values()))} of training on this machine, "
        "one after the other, beside reading the images and evaluation"
    )


def _cell_of(row: Any) -> Cell:
    return Cell(
        row.protocol, row.split_list, row.trial, row.method, row.augmentation, row.seed, row.recipe, row.variant
    )
