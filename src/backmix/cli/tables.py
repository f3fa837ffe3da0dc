"""The options of `backmix tables`. `backmix.cli.tables_command` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tables(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="results.csv files, or folders of them.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Also write the tables and the plot here.")] = None,
    detector: Annotated[str | None, typer.Option(help="Show this one alone. Default: method.")] = None,
) -> None:
    """Means, differences and published figures from the results of `backmix bench`."""
    from backmix.cli.tables_command import tables_command

    tables_command(results, out=out, detector=detector)
