"""Tables of single trials: what the means of a benchmark are made of."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from backmix.benchmark.results import Row
from backmix.benchmark.sheet import Sheet
from backmix.benchmark.summary import Setting, by_setting, check_figures, mean_of
from backmix.benchmark.tables import LABELS, block_title, percent
from backmix.pages.words import hundredths


def trial_sheets(rows: Iterable[Row], figure: str = "auroc") -> list[Sheet]:
    """Tables with a line a trial and a column an augmentation.

    There is one for each protocol, split list, unknown set, recipe, method and score. With several seeds a cell is
    their mean; where there is but one trial, a line is a seed. The last line is the mean ± standard deviation.

    Args:
        rows: in any order.
        figure: name in `FIGURES`.

    Raises:
        DataError: see `backmix.benchmark.summary.summarise`.
    """
    check_figures([figure])
    settings = sorted(by_setting(rows).items(), key=lambda item: item[0].order)
    groups = groupby(settings, key=lambda item: (*item[0].block, item[0].method, item[0].detector))
    return [_sheet(dict(members), figure) for _, members in groups]


def _sheet(settings: dict[Setting, list[Row]], figure: str) -> Sheet:
    single = len({row.trial for members in settings.values() for row in members}) == 1
    columns: list[dict[str | int, float]] = []
    means = []
    for members in settings.values():
        values = {(row.trial, row.seed): value for row in members if (value := getattr(row, figure)) is not None}
        found: dict[str | int, list[float]] = defaultdict(list)
        for (trial, seed), value in values.items():
            found[seed if single else trial].append(value)
        columns.append({name: statistics.mean(several) for name, several in found.items()})
        mean = mean_of(values) if values else None
        if mean is not None and mean.over == "seeds" and not single:
            mean = replace(mean, sd=None)  # A deviation of seeds beside those of trials would be taken for one.
        means.append(percent(mean))
    # Seeds sort as numbers.
    names = sorted({row.seed if single else row.trial for members in settings.values() for row in members})
    lines = [(str(name), *(hundredths(column.get(name)) for column in columns)) for name in names]
    lines.append(("mean ± sd", *means))
    first = next(iter(settings))
    title = f"{LABELS[figure]}, {first.method}, score {first.detector}: {block_title(first)}; percent"
    head = ("seed" if single else "trial", *(setting.mix for setting in settings))
    return Sheet(title, head, tuple(lines), frozenset({0}))
