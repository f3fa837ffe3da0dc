"""The building blocks of a part of the page: tables, and sentences that say no more than the figures do."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from backmix.study.results import Figure, Results


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: The title, which says what the table shows.
        head: The names of the columns.
        rows: The cells of each row. Every row has as many cells as there are columns.
        note: A note on how to read the table; it may be empty.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""


@dataclass(frozen=True)
class Part:
    """The results of one part of a study.

    Attributes:
        key: The letter of the part, one of a to d.
        title: The title of the part.
        about: A description of the experiment.
        findings: Sentences that the figures confirm.
        tables: The tables of the figures.
    """

    key: str
    title: str
    about: str
    findings: list[str]
    tables: list[Table] = field(default_factory=list)


def to_markdown(table: Table) -> str:
    """Write a table as Markdown, with its title before it and its note after it."""
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table.title}:\n\n{text}" + (f"\n\n{table.note}" if table.note else "")


def verdict(differences: Sequence[float], *, higher_is_better: bool = True) -> str:
    """Describe differences, one for each seed: "better in all 3", "worse in both" or "better in 1 of 3"."""
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
    """Return a sentence on the trainings that are higher than plain in every seed, one on those lower, one on the rest.

    A sentence about no training is left out.
    """
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
    """Write shares as mean ± standard deviation in percent; a dash if there are no values."""
    return spread([100 * value for value in values], sign=sign, digits=digits)


def spread(values: Sequence[float], *, sign: bool = False, digits: int = 1) -> str:
    """Write values as mean ± standard deviation; a dash if there are no values."""
    if not values:
        return "–"
    # Adding 0 turns −0 into 0.
    mean = f"{round(statistics.fmean(values), digits) + 0.0:{'+' if sign else ''}.{digits}f}".replace("-", "−")
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def prior_text(prior: float | None) -> str:
    """Write a prior for people."""
    return "as photographed" if prior is None else f"{prior:.2f}"
