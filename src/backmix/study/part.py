"""What a part of the page is made of: tables, and words that say no more than the figures do."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from backmix.study.results import Figure, Results


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: says what the table shows.
        head: names the columns.
        rows: have as many cells as there are columns.
        note: says how to read the table; it may be empty.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""


@dataclass(frozen=True)
class Part:
    """What one part found.

    Attributes:
        key: is one of a to d.
        title: is the title of the part.
        about: says what was done.
        findings: are the sentences that the figures bear out.
        tables: show the figures.
    """

    key: str
    title: str
    about: str
    findings: list[str]
    tables: list[Table] = field(default_factory=list)


def to_markdown(table: Table) -> str:
    """Write a table with its title before it and its note behind it."""
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table.title}:\n\n{text}" + (f"\n\n{table.note}" if table.note else "")


def verdict(differences: Sequence[float], *, higher_is_better: bool = True) -> str:
    """Say of differences, seed by seed, "better in all 3", "worse in both" or "better in 1 of 3"."""
    better = sum((value > 0) == higher_is_better and value != 0 for value in differences)
    count = len(differences)
    in_all = {1: "", 2: " in both"}.get(count, f" in all {count}")
    if not count:
        return "not measured"
    if not any(differences):
        return "no change"
    if better == count:
        return "better" + in_all
    if better == 0 and all(differences):
        return "worse" + in_all
    return f"better in {better} of {count}"


def beside_plain(
    results: Results, prior: float | None, figure: Figure, name: str, trainings: Sequence[str]
) -> list[str]:
    """Say in a sentence each which trainings gain in every seed, which lose, and which do neither."""
    groups: dict[str, list[str]] = {"Higher": [], "Lower": [], "Not the same": []}
    for training in results.there(trainings, prior):
        found = results.differences(training, prior, figure)
        if not found:
            continue
        sign = "Higher" if min(found) > 0 else "Lower" if max(found) < 0 else "Not the same"
        groups[sign].append(f"{training} ({share(found, sign=True)})")
    return [
        f"{name}: {sign.lower()} {'in' if sign == 'Not the same' else 'than plain in'} every seed: {'; '.join(of)}."
        for sign, of in groups.items()
        if of
    ]


def share(values: Sequence[float], *, sign: bool = False, digits: int = 1) -> str:
    """Write mean ± standard deviation in percent; without values it is a dash."""
    return spread([100 * value for value in values], sign=sign, digits=digits)


def spread(values: Sequence[float], *, sign: bool = False, digits: int = 1) -> str:
    """Write mean ± standard deviation; without values it is a dash."""
    if not values:
        return "–"
    # Adding 0 makes of −0 a 0.
    mean = f"{round(statistics.fmean(values), digits) + 0.0:{'+' if sign else ''}.{digits}f}".replace("-", "−")
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def told(prior: float | None) -> str:
    """Write a prior for people."""
    return "as photographed" if prior is None else f"{prior:.2f}"
