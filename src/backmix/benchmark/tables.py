"""Tables of a benchmark: means beside published figures, differences to a baseline, and single trials."""

from __future__ import annotations

import csv
import io
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby

from backmix.benchmark.paired import CONFIDENCE, Difference, compare
from backmix.benchmark.published import Published, notes_on, published_beside
from backmix.benchmark.results import LOWER_IS_BETTER, Row
from backmix.benchmark.sheet import Sheet
from backmix.benchmark.summary import Mean, RowSetting, Summary, by_setting, check_figures, mean_of, summarise
from backmix.pages.words import hundredths

LABELS = {
    "accuracy": "closed accuracy",
    "auroc": "AUROC",
    "oscr": "OSCR",
    "aupr_in": "AUPR in",
    "aupr_out": "AUPR out",
    "fpr95": "FPR95",
    "detection_accuracy": "detection accuracy",
    "accepted_known": "accepted",
    "rejected_unknown": "rejected",
    "accuracy_with_rejection": "accuracy with rejection",
    "macro_f1": "macro F1",
    "held_out_accuracy": "held-out accuracy",
}
"""The name of each figure in tables and plots."""

DEFAULT_FIGURES = ("accuracy", "auroc", "oscr")


@dataclass(frozen=True)
class Line:
    """The content of tables for one setting.

    Attributes:
        summary: The means of the setting.
        differences: The differences to the baseline, by figure; empty for the baseline itself.
        published: Printed figures of the same method, augmentation and score, by figure.
    """

    summary: Summary
    differences: dict[str, Difference]
    published: dict[str, list[Published]]

    @property
    def setting(self) -> RowSetting:
        """The setting that the line describes."""
        return self.summary.setting


def make_lines(
    rows: Iterable[Row],
    *,
    figures: Sequence[str] = DEFAULT_FIGURES,
    compared: Sequence[str] = ("auroc",),
    augmentation: str | None = "none",
    variant: str = "",
) -> list[Line]:
    """Return the content of the tables, a line for each setting.

    Args:
        rows: The results, in any order.
        figures: The figures for which means and published figures are given.
        compared: The figures for which differences are given.
        augmentation: The augmentation of the baseline, see `backmix.benchmark.paired.compare`.
        variant: The variant of the baseline.

    Raises:
        DataError: See `backmix.benchmark.summary.summarise`.
    """
    rows = list(rows)
    found = {
        (difference.setting, figure): difference
        for figure in compared
        for difference in compare(rows, figure, augmentation=augmentation, variant=variant)
    }
    lines = []
    for summary in summarise(rows, figures):
        differences = {figure: found[key] for figure in compared if (key := (summary.setting, figure)) in found}
        published = {figure: published_beside(summary.setting, figure) for figure in figures}
        lines.append(Line(summary, differences, published))
    return lines


def summary_sheets(lines: Iterable[Line]) -> list[Sheet]:
    """Return tables of means beside published figures, and tables of differences.

    There is one table of each kind for every protocol, split list, unknown set and recipe. Numbers are percent with one
    decimal, as mean ± standard deviation. Gains and losses both carry their sign.

    Args:
        lines: The lines from `make_lines`.
    """
    sheets = []
    for _, members in groupby(lines, key=lambda line: line.setting.block):
        block = list(members)
        sheets.append(_means(block))
        if any(line.differences for line in block):
            sheets.append(_differences(block))
    return sheets


def trial_sheets(rows: Iterable[Row], figure: str = "auroc") -> list[Sheet]:
    """Return tables with a line for each trial and a column for each augmentation.

    There is one table for each protocol, split list, unknown set, recipe, method and score. With several seeds, a cell
    shows the mean over the seeds. If there is only one trial, each line is a seed. The last line is the mean ± standard
    deviation.

    Args:
        rows: The results, in any order.
        figure: The name of a figure in `FIGURES`.

    Raises:
        DataError: See `backmix.benchmark.summary.summarise`.
    """
    check_figures([figure])
    settings = sorted(by_setting(rows).items(), key=lambda item: item[0].order)
    groups = groupby(settings, key=lambda item: (*item[0].block, item[0].method, item[0].detector))
    return [_trial_sheet(dict(members), figure) for _, members in groups]


def summary_csv(lines: Iterable[Line]) -> str:
    """Return the lines as CSV for other programs, with a column for each number.

    Numbers are not rounded, and shares lie in 0..1 as in results.csv. An empty cell stands for a missing number.

    Args:
        lines: The lines from `make_lines`.
    """
    records = [_record(line) for line in lines]
    head = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, head, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def percent(mean: Mean | None, sign: str = "") -> str:
    """Write a mean in percent, with its deviation if it has one; "-" for None. `sign="+"` shows the sign of a gain."""
    if mean is None:
        return "-"
    # Adding zero removes the sign of minus zero, which is neither gain nor loss.
    value = f"{100 * mean.value + 0.0:{sign}.1f}"
    return value if mean.sd is None else f"{value} ± {100 * mean.sd:.1f}"


def block_title(setting: RowSetting) -> str:
    """Return the title for the settings of one table: their protocol, split list, unknown set and recipe."""
    parts = [setting.protocol, setting.split_list and f"split list {setting.split_list}"]
    # Most protocols have a single unknown set, called "unknown".
    parts += ["" if setting.unknown_set in ("", "unknown") else f"unknown {setting.unknown_set}"]
    parts += [f"recipe {setting.recipe}"]
    return ", ".join(part for part in parts if part)


def _means(lines: Sequence[Line]) -> Sheet:
    """Make the table of means and published figures of one block."""
    figures = list(lines[0].published)
    printed = [figure for figure in figures if any(line.published[figure] for line in lines)]
    sources = [entry for line in lines for each in line.published.values() for entry in each]
    origins = list(dict.fromkeys(entry.origin for entry in sources))
    names, name_cells = _names(lines)
    head = [*names, "n", *(LABELS[figure] for figure in figures)]
    words = {*range(len(names)), *range(len(head), len(head) + len(printed))}
    head += [f"{LABELS[figure]}, published" for figure in printed]
    texts = []
    for line, cells in zip(lines, name_cells, strict=True):
        fewest, most = line.summary.seeds
        cells.append(f"{line.summary.trials} x {fewest}" + (f"-{most}" if most > fewest else ""))
        cells += [percent(line.summary.means.get(figure)) for figure in figures]
        for figure in printed:
            several = (
                f"{100 * entry.mean:.1f} {entry.confidence} ({origins.index(entry.origin) + 1})"
                for entry in line.published[figure]
            )
            cells.append("; ".join(several))
        texts.append(tuple(cells))
    summaries = [line.summary for line in lines]
    over_seeds = [summary for summary in summaries if summary.trials == 1 and summary.seeds[1] > 1]
    if len(over_seeds) == len(summaries):
        notes = ["n: trials x seeds. ± is the standard deviation (n - 1) over the seeds of one trial."]
    else:
        notes = [
            "n: trials x seeds. ± is the standard deviation (n - 1) over trials; seeds of a trial are averaged first."
        ]
        notes += [f"{_named(summary.setting)}: one trial, so ± is over its seeds." for summary in over_seeds]
    notes += _lower(figures)
    notes += [f"{_named(summary.setting)}: {note}" for summary in summaries for note in summary.notes]
    notes += [f"({number}) {origin}." for number, origin in enumerate(origins, 1)] + notes_on(sources)
    return Sheet(f"{_title(lines)}; percent", tuple(head), tuple(texts), frozenset(words), tuple(notes))


def _differences(lines: Sequence[Line]) -> Sheet:
    """Make the table of differences of one block, with a line for each setting and figure."""
    compared = [line for line in lines if line.differences]
    figures = list(dict.fromkeys(figure for line in compared for figure in line.differences))
    baselines = {each.baseline.mix for line in compared for each in line.differences.values()}
    to = baselines.pop() if len(baselines) == 1 else "the same without the variant"
    names, name_cells = _names(compared)
    head = [*names, "figure", f"difference to {to}", f"{CONFIDENCE:.0%} interval", "better / worse / equal", "p"]
    texts = [
        (*cells, LABELS[figure], *_difference_cells(difference))
        for line, cells in zip(compared, name_cells, strict=True)
        for figure, difference in line.differences.items()
    ]
    notes = [
        "Pair by pair of trial and seed; ± is the standard deviation of the differences over trials (over seeds where "
        "there is one trial). Intervals by Student's t; trials share data, so they are approximate. p: sign test, "
        "exact, two-sided, without ties.",
        *_lower(figures),
    ]
    for line in compared:
        own_notes = dict.fromkeys(note for each in line.differences.values() for note in each.notes)
        notes += [f"{_named(line.setting)}: {note}" for note in own_notes]
    words = frozenset(range(len(names) + 1))
    return Sheet(f"{_title(lines)}; difference in points", tuple(head), tuple(texts), words, tuple(notes))


def _difference_cells(difference: Difference) -> list[str]:
    if difference.p is None:
        return ["-"] * 4
    interval = "-"
    if difference.interval is not None:
        low, high = (100 * end + 0.0 for end in difference.interval)
        interval = f"{low:+.1f} to {high:+.1f}"
    counts = f"{difference.better} / {difference.worse} / {difference.equal}"
    return [percent(difference.mean, "+"), interval, counts, f"{difference.p:.3g}"]


def _names(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Return the heads and cells of the columns that name the setting of a line."""
    scores = len({line.setting.detector for line in lines}) > 1
    head = ["method", "augmentation", *(["score"] if scores else [])]
    return head, [
        [line.setting.method, line.setting.mix, *([line.setting.detector] if scores else [])] for line in lines
    ]


def _title(lines: Sequence[Line]) -> str:
    scores = {line.setting.detector for line in lines}
    return block_title(lines[0].setting) + (f", score {scores.pop()}" if len(scores) == 1 else "")


def _lower(figures: Iterable[str]) -> list[str]:
    return [f"{LABELS[figure]}: lower is better." for figure in figures if figure in LOWER_IS_BETTER]


def _named(setting: RowSetting) -> str:
    return f"{setting.method}, {setting.mix}, score {setting.detector}"


def _record(line: Line) -> dict[str, object]:
    summary = line.summary
    record: dict[str, object] = asdict(summary.setting)
    record |= {"trials": summary.trials, "fewest_seeds": summary.seeds[0], "most_seeds": summary.seeds[1]}
    for figure in line.published:
        mean = summary.means.get(figure)
        if mean is not None:
            record |= {figure: mean.value, f"{figure}_sd": mean.sd, f"{figure}_n": mean.n, f"{figure}_over": mean.over}
    for figure, difference in line.differences.items():
        name = f"{figure}_difference"
        low, high = difference.interval or (None, None)
        record |= {f"{name}_to": difference.baseline.mix, f"{name}_pairs": len(difference.paired)}
        if difference.mean is not None:
            record |= {name: difference.mean.value, f"{name}_sd": difference.mean.sd, f"{name}_n": difference.mean.n}
        record |= {f"{name}_low": low, f"{name}_high": high, f"{name}_p": difference.p}
        record |= {f"{name}_{key}": getattr(difference, key) for key in ("better", "worse", "equal")}
    for figure, entries in line.published.items():
        record[f"{figure}_published"] = " | ".join(f"{entry.mean:g} {entry.origin}" for entry in entries)
    differences = line.differences.values()
    record["notes"] = " ".join([*summary.notes, *(note for each in differences for note in each.notes)])
    return record


def _trial_sheet(settings: dict[RowSetting, list[Row]], figure: str) -> Sheet:
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
            mean = replace(mean, sd=None)  # Beside deviations over trials, one over seeds would mislead.
        means.append(percent(mean))
    # Seeds are sorted as numbers.
    names = sorted({row.seed if single else row.trial for members in settings.values() for row in members})
    lines = [(str(name), *(hundredths(column.get(name)) for column in columns)) for name in names]
    lines.append(("mean ± sd", *means))
    first = next(iter(settings))
    title = f"{LABELS[figure]}, {first.method}, score {first.detector}: {block_title(first)}; percent"
    head = ("seed" if single else "trial", *(setting.mix for setting in settings))
    return Sheet(title, head, tuple(lines), frozenset({0}))
