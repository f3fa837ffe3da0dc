"""The work of `backmix tables`: show means, differences and published figures from results files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from backmix.augmentations import BACKMIXES
from backmix.benchmark.plot import plot_differences
from backmix.benchmark.results import Row, read_results
from backmix.benchmark.runner import RESULTS
from backmix.benchmark.sheet import to_markdown, to_rich
from backmix.benchmark.summary import RowSetting
from backmix.benchmark.tables import DEFAULT_FIGURES, make_lines, summary_csv, summary_sheets, trial_sheets
from backmix.cli.console import make_console
from backmix.errors import DataError
from backmix.files import make_folder, write_text


def tables_command(results: Sequence[Path], *, out: Path | None = None, detector: str | None = None) -> list[Path]:
    """Print the tables of results files, and write them if asked.

    Args:
        results: Results files, or folders that contain a results.csv.
        out: The folder for tables.md, tables.csv and a plot of every protocol; None: nothing is written.
        detector: The detector to print; None: the method's own score. The files contain all detectors.

    Returns:
        The paths of the files that were written.

    Raises:
        DataError: If a file is not a results file, if several files hold the same result, or if there is no result.
    """
    rows: list[Row] = []
    for path in results:
        rows += read_results(path / RESULTS if path.is_dir() else path)
    if not rows:
        raise DataError(f"no result in {', '.join(map(str, results))}: no cell of the benchmark is finished yet")
    console = make_console()
    print_tables(console, rows, detector=detector)
    written = write_tables(out, rows) if out is not None else []
    if written:
        console.print("written: " + ", ".join(map(str, written)))
    return written


def print_tables(console: Console, rows: Sequence[Row], *, detector: str | None = None) -> None:
    """Print the means and differences of one detector, then a table for every trial.

    Raises:
        DataError: If no row has that detector.
    """
    shown = _of_one_detector(rows, detector)
    for sheet in summary_sheets(make_lines(shown, compared=DEFAULT_FIGURES)):
        console.print(to_rich(sheet))
    varied = [row for row in shown if row.variant or row.augmentation in BACKMIXES]
    if any(row.variant for row in varied):
        # An ablation compares each option with BackMix itself, not with a training without BackMix.
        for sheet in summary_sheets(make_lines(varied, figures=(), compared=("auroc",), augmentation="backmix")):
            console.print(to_rich(sheet))
    for sheet in trial_sheets(shown):
        console.print(to_rich(sheet))


def write_tables(out: Path, rows: Sequence[Row]) -> list[Path]:
    """Write tables.md and tables.csv with all detectors, and a plot of the differences in each protocol.

    Returns:
        The paths of the files.
    """
    make_folder(out)
    lines = make_lines(rows, compared=DEFAULT_FIGURES)
    sheets = [*summary_sheets(lines), *trial_sheets(rows)]
    write_text(out / "tables.md", "\n\n".join(to_markdown(sheet) for sheet in sheets) + "\n")
    write_text(out / "tables.csv", summary_csv(lines))
    written = [out / "tables.md", out / "tables.csv"]
    blocks: dict[tuple[str, ...], list[Row]] = {}
    for row in _of_one_detector(rows, None):
        blocks.setdefault(RowSetting.of(row).block, []).append(row)
    for members in blocks.values():
        path = out / f"differences-{len(written) - 1}.png"
        with suppress(DataError):  # There is no plot if there is nothing to compare.
            plot_differences(members, path)
            written.append(path)
    return written


def _of_one_detector(rows: Sequence[Row], detector: str | None) -> list[Row]:
    """Return the rows of a detector; None: the method's own score if there is one, else the first detector."""
    there = list(dict.fromkeys(row.detector for row in rows))
    chosen = detector or ("method" if "method" in there else there[0])
    found = [row for row in rows if row.detector == chosen]
    if not found:
        raise DataError(f"no result of detector {detector!r}; there are {', '.join(there)}")
    return found
