"""Pictures of a study: sample images, and charts of its figures that show every seed."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.figure import FigureBase
from PIL import Image

from backmix.data.source import ImageSource
from backmix.study.part import prior_text
from backmix.study.plan import trainings_of
from backmix.study.results import (
    Figure,
    Results,
    audited,
    auroc,
    entropy_of_backgrounds,
    gap,
    independent,
    misleading,
    outside_share,
)
from backmix.study.setting import Sources
from backmix.study.trainings import EXPOSED, MAIN, PLAIN

WIDTH = 5.2
INK = "#222222"
STYLES = {
    PLAIN: ("#222222", "o", "-"),
    "patch": ("#d55e00", "s", "--"),
    "swap": ("#0072b2", "^", "-."),
    "swap, true masks": ("#009e73", "D", ":"),
}
"""The colour, mark and dash of each training. The colours are those of Okabe and Ito; marks and dashes help people who
cannot tell the colours apart."""
SHOWN = 6
SIDE = 96
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "text.color": INK,
}


def make_charts(results: Results) -> dict[str, bytes]:
    """Return a chart as PNG for each part that has figures."""
    makers = {"a": _rising, "b": _outliers, "c": _predictions, "d": _gaps}
    found = {}
    with matplotlib.rc_context(STYLE):
        for part in results.parts:
            canvas = makers[part](results)
            if canvas is not None:
                found[part] = _png(canvas)
    return found


def alternative(part: str) -> str:
    """Return the description of a chart in words. The figures themselves stand in the table below it."""
    return {
        "a": "Four charts over the prior, a line for each training: accuracy where backgrounds say nothing, AUROC "
        "with unknown objects on known backgrounds, with known ones on other backgrounds too, and the background "
        "misleading index.",
        "b": "AUROC of each training, a dot for each seed, unknown objects on known backgrounds.",
        "c": "Three charts of each training: entropy on pure backgrounds, accuracy on them, and the spread of logits "
        "beside the object as a share of that on it.",
        "d": "The background gap of each training from true masks and from estimated masks, a dot for each seed.",
    }[part]


def samples(sources: Sources, known: Sequence[str]) -> bytes:
    """Return a PNG of sample images: known objects from the training, and unknown objects from the tests.

    Args:
        sources: The images of a cell.
        known: The names of the known classes.
    """
    rows = [("known, training", sources.train, True), ("unknown, test", sources.test, False)]
    if sources.elsewhere is not None:
        rows.append(("unknown, other backgrounds", sources.elsewhere, False))
    shown = [(name, source, _some(source, known, of_known)) for name, source, of_known in rows]
    shown = [row for row in shown if row[2]]
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(WIDTH, 1.08 * len(shown)), dpi=200, layout="constrained")
        lines = canvas.subfigures(len(shown), 1, squeeze=False)[:, 0]
        for line, (name, source, chosen) in zip(lines, shown, strict=True):
            line.suptitle(name, x=0.01, ha="left", fontsize=10)
            for axis, position in zip(line.subplots(1, SHOWN), [*chosen, *[None] * SHOWN], strict=False):
                axis.set_axis_off()
                if position is not None:
                    axis.imshow(np.asarray(source.read(position).resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
        return _png(canvas)


def _png(canvas: Canvas) -> bytes:
    """Draw a picture without the name of the programme that drew it, so that the same figures give the same bytes."""
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _some(source: ImageSource, known: Sequence[str], of_known: bool) -> list[int]:
    """Return the positions of up to `SHOWN` images of known or unknown classes, with as many classes as possible."""
    wanted = [
        number
        for number, name in enumerate(source.classes)
        if (name in known) == of_known and (source.labels == number).any()
    ]
    places = [(source.labels == number).nonzero()[:, 0] for number in wanted]
    found: list[int] = []
    for turn in range(SHOWN):
        found += [int(of[turn]) for of in places if turn < len(of)]
    return found[:SHOWN]


def _rising(results: Results) -> Canvas | None:
    panels: list[tuple[str, Figure]] = [
        ("accuracy where backgrounds say nothing, %", independent),
        ("AUROC, unknown objects on known backgrounds, %", auroc("Kk-Qk")),
        ("AUROC, known on other, unknown on known backgrounds, %", auroc("Kq-Qk")),
        ("background misleading index, points", misleading),
    ]
    there = [(title, figure) for title, figure in panels if results.values(PLAIN, results.priors[0], figure)]
    if not there:
        return None
    canvas = Canvas(figsize=(WIDTH, 0.5 + 2.1 * len(there)), dpi=200, layout="constrained")
    axes = canvas.subplots(len(there), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, figure) in zip(axes, there, strict=True):
        axis.set_title(title, loc="left")
        for name in MAIN:
            colour, mark, dash = STYLES[name]
            points = [(prior, results.values(name, prior, figure)) for prior in results.priors]
            points = [(prior, values) for prior, values in points if values]
            means = [100 * statistics.fmean(values) for _, values in points]
            axis.plot(
                [p for p, _ in points], means, color=colour, marker=mark, linestyle=dash, label=name, markersize=5
            )
            for prior, values in points:
                axis.plot([prior] * len(values), [100 * v for v in values], ".", color=colour, alpha=0.45, markersize=4)
    axes[-1].set_xlabel("prior: rate at which a class stands on its own background")
    axes[-1].set_xticks(results.priors, [prior_text(prior) for prior in results.priors])
    canvas.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    return canvas


def _outliers(results: Results) -> Canvas | None:
    names = results.there((*MAIN, *EXPOSED), results.middle)
    return _dots(results, names, results.middle, [("AUROC, unknown objects on known backgrounds, %", auroc("Kk-Qk"))])


def _predictions(results: Results) -> Canvas | None:
    panels = [
        ("(i) entropy on pure backgrounds, % of the largest", entropy_of_backgrounds),
        ("(ii) accuracy on pure backgrounds, %", audited("only-background")),
        ("(iii) spread of logits beside the object, % of that on it", outside_share),
    ]
    return _dots(results, results.there(MAIN, results.strong), results.strong, panels)


def _dots(
    results: Results, names: Sequence[str], prior: float | None, panels: Sequence[tuple[str, Figure]]
) -> Canvas | None:
    """Draw a row for each training, a dot for each seed, a bar at the mean, and a line at the mean of plain."""
    if not names:
        return None
    canvas = Canvas(figsize=(WIDTH, len(panels) * (0.6 + 0.27 * len(names))), dpi=200, layout="constrained")
    parts = canvas.subfigures(len(panels), 1, squeeze=False)[:, 0]
    for part, (title, figure) in zip(parts, panels, strict=True):
        axis = _titled(part, title)
        plain = results.values(PLAIN, prior, figure)
        if plain:
            axis.axvline(100 * statistics.fmean(plain), color=INK, linewidth=0.8, linestyle=":")
        for place, name in enumerate(names):
            colour = STYLES.get(name, ("#56b4e9", "o", "-"))[0]
            _row(axis, place, [100 * value for value in results.values(name, prior, figure)], colour)
        _name_rows(axis, names)
    return canvas


def _gaps(results: Results) -> Canvas | None:
    names = results.there(trainings_of("d"), results.strong)
    if not names:
        return None
    canvas = Canvas(figsize=(WIDTH, 1.2 + 0.42 * len(names)), dpi=200, layout="constrained")
    axis = _titled(canvas, "background gap, points, with 95 % intervals")
    axis.axvline(0, color=INK, linewidth=0.8)
    for shift, masks, colour, mark, label in (
        (-0.16, "audit", "#0072b2", "o", "true masks"),
        (0.16, "audit_estimated", "#d55e00", "s", "estimated masks"),
    ):
        for place, name in enumerate(names):
            cells = [cell for cell in results.seeds(name, results.strong).values() if gap(masks)(cell) is not None]
            for nudge, cell in zip(np.linspace(-0.1, 0.1, len(cells)) if len(cells) > 1 else [0.0], cells, strict=True):
                of = cell[masks]["background_gap"]
                at = place + shift + float(nudge)
                axis.plot([100 * of["low"], 100 * of["high"]], [at, at], color=colour, linewidth=0.9, alpha=0.6)
                axis.plot(100 * of["value"], at, mark, color=colour, markersize=3.5, label=label)
                label = ""
    _name_rows(axis, names)
    handles, labels = axis.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return canvas


def _titled(part: FigureBase, title: str) -> Axes:
    """Return axes with a title that is aligned with the names of the rows."""
    part.suptitle(title, x=0.01, ha="left", fontsize=10)
    axis: Axes = part.subplots()
    return axis


def _row(axis: Axes, place: float, values: Sequence[float], colour: str) -> None:
    axis.plot(values, [place] * len(values), "o", color=colour, markersize=4.5, alpha=0.7)
    if values:
        axis.plot([statistics.fmean(values)], [place], "|", color=colour, markersize=13, markeredgewidth=2)


def _name_rows(axis: Axes, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
