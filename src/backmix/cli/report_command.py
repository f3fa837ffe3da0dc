"""The work of `backmix report`: write one page about a run."""

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
    moved: str | None = None,
    out: Path | None = None,
    workers: int = 2,
) -> Path:
    """Test a run, write its report, and print the path of the report.

    Args:
        run: The run folder.
        data: The test images; None: the images that the run held out for testing.
        split: The split of `data`, or of the run's data; None: test if there is one.
        unknown: Further images that all count as unknown; images of classes that the run knows are left out.
        unknown_split: The split of `unknown`; None: test if there is one.
        moved: Where the data of the run lies now; None: where it lay when the run was trained.
        out: The HTML file to write; None: report.html in the run folder.
        workers: The number of threads that decode images.

    Returns:
        The path of the report.

    Raises:
        ValueError: If the file name does not end in .html or .htm, or names a folder.
        RunError, DataError: See `backmix.report.page.write_report`.
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
            moved=moved,
            workers=workers,
            on_images=lambda done, total: status.update(f"{done:,} of {total:,} images tested"),
        )
    console.print(f"written to {file}")
    return file
