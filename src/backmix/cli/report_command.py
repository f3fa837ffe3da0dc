"""`backmix report`: one page about a run."""

from __future__ import annotations

from pathlib import Path

from backmix.cli.console import make_console


def report_command(
    run: Path,
    *,
    data: str | None = None,
    split: str | None = None,
    unknown: str | None = None,
    unknown_split: str | None = None,
    out: Path | None = None,
    workers: int = 2,
) -> Path:
    """Test a run, write its report and say where it is.

    Args:
        run: its folder.
        data: see `backmix.report.page.write_report`, as for the rest.
        split: likewise.
        unknown: likewise.
        unknown_split: likewise.
        out: HTML file to write; None: report.html in the run.
        workers: threads that decode.

    Raises:
        ValueError: for a name that no browser would open as a page.
        RunError, DataError: see `write_report`.
    """
    from backmix.report.page import write_report

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--out takes an .html file; got {out}")
    if out is not None and out.is_dir():
        raise ValueError(f"--out takes a file; {out} is a folder")
    console = make_console()
    with console.status("reading the run") as status:
        file = write_report(
            run,
            out,
            data=data,
            split=split,
            unknown=unknown,
            unknown_split=unknown_split,
            workers=workers,
            on_images=lambda done, total: status.update(f"{done:,} of {total:,} images tested"),
        )
    console.print(f"written to {file}")
    return file
