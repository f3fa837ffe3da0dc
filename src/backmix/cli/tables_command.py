"""`backmix tables`: means, differences and published figures from results files."""

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
from backmix.benchmark.summary import Setting
from backmix.benchmark.tables import DEFAULT_FIGURES, make_lines, summary_csv, summary_sheets, trial_sheets
from backmix.cli.console import make_console
from backmix.errors import DataError
from backmix.files import write_text


def tables_command(results: Sequence[Path], *, out: Path | None = None, detector: str | None = None) -> list[Path]:
    """Print the tables of results files, and write them if asked.

    Args:
        results: files, or folders with a results.csv.
        out: folder for tables.md, tables.csv and a plot of every protocol; None: nothing is written.
        detector: the one shown on the screen; None: the method's own score. All are written.

    Returns:
        The files written.

    Raises:
        DataError: for a file that is no results file, a result that several files have, or nothing to show.
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
    """Print means and differences of one detector, then every trial.

    Raises:
        DataError: when no row has that detector.
    """
    shown = _of_one_detector(rows, detector)
    for sheet in summary_sheets(make_lines(shown, compared=DEFAULT_FIGURES)):
        console.print(to_rich(sheet))
    varied = [row for row in shown if row.variant or row.augmentation in BACKMIXES]
    if any(row.variant for row in varied):
        # An ablation asks what each option does to BackMix, not to a training without it.
        for sheet in summary_sheets(make_lines(varied, figures=(), compared=("auroc",), augmentation="backmix")):
            console.print(to_rich(sheet))
    for sheet in trial_sheets(shown):
        console.print(to_rich(sheet))


def write_tables(out: Path, rows: Sequence[Row]) -> list[Path]:
    """Write tables.md and tables.csv of all detectors, and a plot of each protocol's differences.

    Returns:
        The files.
    """
    out.mkdir(parents=True, exist_ok=True)
    lines = make_lines(rows, compared=DEFAULT_FIGURES)
    sheets = [*summary_sheets(lines), *trial_sheets(rows)]
    write_text(out / "tables.md", "\n\n".join(to_markdown(sheet) for sheet in sheets) + "\n")
    write_text(out / "tables.csv", summary_csv(lines))
    written = [out / "tables.md", out / "tables.csv"]
    blocks: dict[tuple[str, ...], list[Row]] = {}
    for row in _of_one_detector(rows, None):
        blocks.setdefault(Setting.of(row).block, []).append(row)
    for members in blocks.values():
        path = out / f"differences-{len(written) - 1}.png"
        with suppress(DataError):  # Where nothing is compared there is no picture.
            plot_differences(members, path)
            written.append(path)
    return written


def _of_one_detector(rows: Sequence[Row], detector: str | None) -> list[Row]:
    """Rows of a detector; None: the method's own score, or the first there is."""
    there = list(dict.fromkeys(row.detector for row in rows))
    chosen = detector or ("method" if "method" in there else there[0])
    found = [row for row in rows if row.detector == chosen]
    if not found:
        raise DataError(f"no result of detector {detector!r}; there are {', '.join(there)}")
    return found
