"""The table in the terminal of what a share of known images to accept costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from backmix.pages.words import hundredths
from backmix.runs.refused import estimated_at


def acceptance(
    rows: Sequence[Mapping[str, Any]], accept: float, estimated: Mapping[float, float] | None = None
) -> Table:
    """Return a table of shares of known images to accept against the share of other things that is refused, in percent.

    Args:
        rows: The entries of `backmix.metrics.acceptance.AtShare`, as dictionaries.
        accept: The share that holds now; its row is marked.
        estimated: Estimates of the share of unknown images that is refused, which stand in where none was tested.
    """
    measured = any(row["refused"] is not None for row in rows)
    table = Table(title="what a share to accept costs, in percent")
    table.add_column("accept of known", justify="right", no_wrap=True)
    table.add_column("accepted in this test", justify="right")
    table.add_column("strangers refused" + ("" if measured or not estimated else ", by an estimate"), justify="right")
    for row in rows:
        refused = row["refused"] if measured else estimated_at(estimated or {}, row["accept"])
        mark = "*" if row["accept"] == accept else ""
        table.add_row(f"{100 * row['accept']:g}{mark}", hundredths(row["accepted"]), hundredths(refused))
    table.caption = "* holds now; - takes more photos held out, or was not tested"
    return table
