"""The work of `backmix study`: train networks on chosen backgrounds and measure what they learn."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from backmix.cli.console import make_console, say_left_out
from backmix.cli.stop_signals import advice_when_stopped
from backmix.errors import DataError
from backmix.files import locked, make_folder, nothing_left_of_a_refusal, write_json
from backmix.study.arguments import StudyArguments, typed
from backmix.study.cell import Cell, run_cell
from backmix.study.charts import samples
from backmix.study.choose_setting import describe, make_setting
from backmix.study.kept import JSON, is_done, read_cells, whole
from backmix.study.page import FILE, write_study_page
from backmix.study.part import Part
from backmix.study.plan import PARTS, cells_of, parts_of, strong_prior
from backmix.study.setting import Setting
from backmix.study.summary import summarise


def study_command(arguments: StudyArguments, out: Path) -> dict[str, Any]:
    """Train and measure the cells of a study; a study that was interrupted is continued.

    Args:
        arguments: The arguments of the command.
        out: The folder for study.json, which is written after each cell, and study.html, written after each seed.

    Returns:
        The content of study.json.

    Raises:
        DataError: If the data has no masks, if parts or seeds are wrong, or if the folder holds another study.
    """
    console = make_console()
    if wrong := [part for part in arguments.parts if part not in PARTS]:
        raise DataError(f"the parts of the study are {', '.join(PARTS)}; got {wrong[0]!r}")
    if not arguments.seeds or len(set(arguments.seeds)) != len(arguments.seeds):
        raise DataError(f"seeds are different numbers, at least one; got {list(arguments.seeds)}")
    setting = make_setting(arguments, on_data=partial(say_left_out, console))
    parts = [part for part in PARTS if part in arguments.parts]
    if not parts_of(setting.priors, parts):
        if setting.priors:
            raise DataError(
                f"part a compares priors, so it needs at least two; --priors has {setting.priors[0]:g} alone"
            )
        raise DataError("part a needs scenes, or the embedded digits: as photographed, no one can choose the prior")
    described = describe(setting, parts)
    with (
        locked(out),
        nothing_left_of_a_refusal(out, (out / JSON).is_file),
        advice_when_stopped(lambda: f"the cells that were measured are kept in {out}; the same command goes on"),
    ):
        return _run(console, arguments, out, setting, parts, described)


def _run(
    console: Console,
    arguments: StudyArguments,
    out: Path,
    setting: Setting,
    parts: list[str],
    described: dict[str, Any],
) -> dict[str, Any]:
    """Run the cells that are left, and write study.json and study.html."""
    make_folder(out)
    done = read_cells(out / JSON, described)
    cells = cells_of(setting.priors, parts, arguments.seeds)
    command = typed(arguments)
    pictures = samples(setting.sources(strong_prior(setting.priors), arguments.seeds[0]), setting.known)
    left = [cell for cell in cells if not is_done(cell, done)]
    console.print(
        f"{len(cells)} cells, {len(cells) - len(left)} done; {setting.name}, {setting.model} at "
        f"{setting.image_size} px, {setting.options.epochs} epochs"
    )
    study: dict[str, Any] = {}
    for number, cell in enumerate(left, 1):
        begin = time.monotonic()
        figures = run_cell(setting, cell, workers=arguments.workers)
        kept = {"left_out": True} if figures is None else figures
        done = [entry for entry in done if any(entry[key] != value for key, value in cell.key().items())]
        done.append({**cell.key(), **kept, "seconds": round(time.monotonic() - begin, 1)})
        study = whole(described, done, cells)
        write_json(out / JSON, study)
        console.print(f"{number}/{len(left)} {_in_words(cell, figures)}, {done[-1]['seconds']:.0f} s")
        if number < len(left) and left[number].seed != cell.seed:
            write_study_page(out / FILE, study, pictures, command)
    study = study or whole(described, done, cells)
    write_study_page(out / FILE, study, pictures, command)
    for part in summarise(study):
        _print(console, part)
    console.print(f"written to {out / FILE} and {out / JSON}")
    return study


def _in_words(cell: Cell, figures: dict[str, Any] | None) -> str:
    name = f"{cell.training}{'' if cell.prior is None else f', prior {cell.prior:.2f}'}, seed {cell.seed}"
    if figures is None:
        return f"{name}: there are no such outliers"
    auroc = figures["auroc"]["max_logit"].get("Kk-Qk")
    gap = figures["audit"]["background_gap"]
    return (
        f"{name}: accuracy {figures['accuracy']:.3f}"
        + (f", AUROC {auroc:.3f}" if auroc is not None else "")
        + (f", background gap {gap['value']:.3f}" if gap is not None else "")
    )


def _print(console: Console, part: Part) -> None:
    console.print(f"\n({part.key}) {part.title}")
    for sentence in part.findings:
        console.print(f"  {sentence}")
    for table in part.tables:
        shown = Table(*table.head, title=table.title)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
