"""A picture of the effect of augmentations, for each trial and on average."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backmix.benchmark.paired import CONFIDENCE, Difference, compare
from backmix.benchmark.results import LOWER_IS_BETTER, Row
from backmix.benchmark.summary import RowSetting, by_setting, in_units
from backmix.benchmark.tables import LABELS, block_title
from backmix.errors import DataError
from backmix.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The colours of Okabe and Ito, which colour-blind people can tell apart. The shapes differ as well.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_SHAPES = ("o", "s", "^", "D", "v", "P")
_ENDINGS = (".png", ".svg", ".pdf")
_HOLLOW: dict[str, Any] = {"marker": "o", "color": "#555555", "markerfacecolor": "none", "linestyle": "none"}
_MARK: dict[str, Any] = {"marker": "|", "color": "black", "markersize": 12, "markeredgewidth": 2.2}
_TRIALS = (-0.38, 0.18)
"""The first and last place of the trials in a line of the picture, downwards from its middle. Lines are 1 apart."""
_MEAN = 0.36
"""The place of the mean in a line of the picture, downwards from its middle."""
_GAP = 0.8
"""The room above the lines of a method for the name of the method."""
_WIDTH = 28
"""The number of letters after which a name is broken into lines."""


def plot_differences(
    rows: Iterable[Row],
    path: Path,
    *,
    figures: Sequence[str] = ("auroc", "oscr"),
    augmentation: str | None = "none",
    variant: str = "",
) -> None:
    """Draw pairs of results, and their differences with mean and confidence interval.

    Each figure has two panels. The left panel shows a pair of dots for each trial and a line between them. The hollow
    dot is the baseline, the filled dot is the augmentation. The right panel shows the differences of these pairs in
    points, with their mean and interval. A dot to the right of zero is an increase. Only pairs that
    `backmix.benchmark.paired.compare` accepts are drawn.

    Args:
        rows: The results, all of one protocol, split list, unknown set, recipe and detector.
        path: The file to write. Its ending chooses PNG, SVG or PDF.
        figures: One or more names in `FIGURES`.
        augmentation: The augmentation of the baseline, see `backmix.benchmark.paired.compare`.
        variant: The variant of the baseline.

    Raises:
        DataError: If the rows do not belong in one picture or hold no pair, if no figure or an unknown figure is named,
            or if the path has another ending.
        TrainingError: If the file cannot be written.
    """
    rows = list(rows)
    if path.suffix.lower() not in _ENDINGS:
        raise DataError(f"{path} ends in {path.suffix!r}; expected one of {', '.join(_ENDINGS)}")
    if not figures:
        raise DataError("there is no figure to draw; name one at least, such as auroc")
    _check_one_block(rows)
    found = {figure: compare(rows, figure, augmentation=augmentation, variant=variant) for figure in figures}
    drawn = [each for each in found[figures[0]] if any(_pairs(found[figure], each.setting) for figure in figures)]
    if not drawn:
        notes = {f"{one.setting.mix} {note}" for each in found.values() for one in each for note in one.notes}
        raise DataError(f"no two results can be compared. {' '.join(sorted(notes))}".strip())
    write_atomically(path, lambda temporary: _draw(rows, temporary, path.suffix.lstrip(".").lower(), drawn, found))


def _draw(
    rows: Sequence[Row], path: Path, kind: str, drawn: Sequence[Difference], found: dict[str, list[Difference]]
) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    settings = by_setting(rows)
    mixes = list(dict.fromkeys(each.setting.mix for each in drawn))
    count = len(_COLOURS)  # Each time the colours repeat, the shapes shift by one.
    styles = {mix: (_COLOURS[n % count], _SHAPES[(n + n // count) % count]) for n, mix in enumerate(mixes)}
    places, names = _layout([each.setting for each in drawn])
    labels = [_wrap(each.setting.mix) for each in drawn]
    tall = max(0.62, 0.2 * max(label.count("\n") + 1 for label in labels))
    width = 2.2 + 4.9 * len(found)
    text: dict[Any, Any] = {"font.size": 11, "axes.titlesize": 12, "font.family": "DejaVu Sans"}
    # Names may contain dollar signs. The hash salt makes equal results give equal bytes.
    text |= {"text.parse_math": False, "svg.hashsalt": "backmix"}
    with mpl.rc_context(text):
        picture = Figure(figsize=(width, tall * (places[-1] + 1) + 2.1), dpi=130, layout="constrained")
        FigureCanvasAgg(picture)
        axes = picture.subplots(1, 2 * len(found), sharey=True, squeeze=False, width_ratios=[1.25, 1] * len(found))[0]
        for number, (figure, differences) in enumerate(found.items()):
            left, right = axes[2 * number], axes[2 * number + 1]
            for place, each in zip(places, drawn, strict=True):
                one = _pairs(differences, each.setting)
                if one is not None:
                    _draw_pairs(left, place, one, settings, styles[each.setting.mix])
                    _draw_difference(right, place, one, styles[each.setting.mix])
            left.set_title(LABELS[figure])
            left.set_xlabel("percent")
            right.set_title("difference" + (", lower is better" if figure in LOWER_IS_BETTER else ""))
            right.set_xlabel("points")
            right.axvline(0, color="black", linewidth=1, zorder=1)
            # Zero stays in sight, however small or large the differences are.
            low, high = right.get_xlim()
            right.set_xlim(min(low, -0.2), max(high, 0.2))
        for axis in axes:
            _dress(axis, places)
        axes[0].set_yticks([*places, *names], [*labels, *names.values()])
        for label in axes[0].get_yticklabels()[len(places) :]:
            label.set_fontweight("bold")
        axes[0].set_ylim(places[-1] + 0.6, min(names) - 0.3)
        over = {each.mean.over for each in drawn if each.mean is not None}
        unit = "trial" if over == {"trials"} else "seed" if over == {"seeds"} else "trial or seed"
        first = drawn[0].setting
        title = textwrap.wrap(f"{block_title(first)}, score {first.detector}", int(9.5 * width))
        picture.suptitle("\n".join([*title, f"a pair of dots for each {unit}"]), fontsize=12)
        baseline = "baseline" if len({each.baseline.mix for each in drawn}) > 1 else drawn[0].baseline.mix
        handles = [Line2D([], [], label=_wrap(baseline, 40), **_HOLLOW)]
        for mix, (colour, shape) in styles.items():
            handles.append(Line2D([], [], color=colour, marker=shape, linestyle="none", label=_wrap(mix, 40)))
        intervals = any(each.interval is not None for differences in found.values() for each in differences)
        label = f"mean, {CONFIDENCE:.0%} interval" if intervals else "mean"
        handles.append(Line2D([], [], label=label, **(_MARK if intervals else _MARK | {"linestyle": "none"})))
        columns = min(len(handles), 2 * len(found))
        picture.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        picture.savefig(path, format=kind, metadata=metadata)


def _layout(settings: Sequence[RowSetting]) -> tuple[list[float], dict[float, str]]:
    """Return the places of the lines from the top down, and the place of each method's name above its lines."""
    places: list[float] = []
    names: dict[float, str] = {}
    for number, setting in enumerate(settings):
        place = places[-1] + 1 if places else 0.0
        if number == 0 or setting.method != settings[number - 1].method:
            place += _GAP if places else 0.0
            names[place - _GAP] = setting.method
        places.append(place)
    return places, names


def _dress(axis: Axes, places: Sequence[float]) -> None:
    """Draw a grid and bands behind the lines, and remove the frame."""
    for place in places[::2]:
        axis.axhspan(place - 0.5, place + 0.5, color="#F3F3F3", zorder=0)
    axis.locator_params(axis="x", nbins=5)
    axis.grid(axis="x", color="#D8D8D8", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def _draw_pairs(
    axis: Axes, place: float, one: Difference, settings: dict[RowSetting, list[Row]], style: tuple[str, str]
) -> None:
    """Draw one line of the left panel: for each trial the baseline, the setting and the line that joins them."""
    colour, shape = style
    theirs, ours = (_values(settings[which], one) for which in (one.baseline, one.setting))
    for height, unit in zip(_heights(place, len(one.values)), one.values, strict=True):
        pair = [100 * theirs[unit], 100 * ours[unit]]
        axis.plot(pair, [height, height], color=colour, linewidth=1.3, alpha=0.6, zorder=2)
        axis.plot(pair[1], height, marker=shape, color=colour, markersize=5.5, linestyle="none", zorder=3)
        axis.plot(pair[0], height, **(_HOLLOW | {"markersize": 6.5}), zorder=4)


def _draw_difference(axis: Axes, place: float, one: Difference, style: tuple[str, str]) -> None:
    """Draw one line of the right panel: the differences, their interval and their mean."""
    colour, shape = style
    assert one.mean is not None
    differences = [100 * value for value in one.values.values()]
    heights = _heights(place, len(differences))
    axis.plot(differences, heights, marker=shape, color=colour, markersize=5.5, linestyle="none", zorder=3)
    middle = place + _MEAN
    if one.interval is not None:
        axis.plot([100 * end for end in one.interval], [middle, middle], color="black", linewidth=1.6, zorder=3)
    axis.plot(100 * one.mean.value, middle, zorder=4, **(_MARK | {"markersize": 9}))


def _values(rows: Sequence[Row], one: Difference) -> dict[str, float]:
    """Return the figure of one side for each trial (or seed), from the pairs that make up the difference."""
    found = {}
    for row in rows:
        value = getattr(row, one.figure)
        if value is not None and (row.trial, row.seed) in one.paired:
            found[row.trial, row.seed] = value
    return in_units(found)[1]


def _pairs(differences: Iterable[Difference], setting: RowSetting) -> Difference | None:
    """Return the difference of a setting; None if it has none."""
    return next((each for each in differences if each.setting == setting and each.mean is not None), None)


def _heights(place: float, count: int) -> list[float]:
    top, bottom = _TRIALS
    if count == 1:
        return [place + (top + bottom) / 2]
    return [place + top + (bottom - top) * number / (count - 1) for number in range(count)]


def _wrap(text: str, width: int = _WIDTH) -> str:
    """Break a long text into lines after commas, plus signs and spaces."""
    lines = [""]
    for part in re.findall(r"[^,+ ]*[,+ ]?", text):
        if lines[-1] and len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def _check_one_block(rows: Sequence[Row]) -> None:
    if not rows:
        raise DataError("there are no results to draw; run a benchmark first")
    for name in ("protocol", "split_list", "unknown_set", "recipe", "detector"):
        values = sorted({getattr(row, name) for row in rows})
        if len(values) > 1:
            raise DataError(f"rows have {name} {', '.join(map(repr, values))}; expected one, as each is a picture")
