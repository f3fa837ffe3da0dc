"""Draw the charts of a report, compute the points of their curves, and describe each chart in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from backmix.metrics.chance import Bins
from backmix.metrics.figures import Array, check_mask, check_scores
from backmix.pages.charts import Chart, ticks
from backmix.pages.words import count, number, percent

BARS = 28
MOST_DOTS = 40  # The largest number of epochs at which each epoch has a dot.


@dataclass(frozen=True)
class Curves:
    """The shares of accepted images as the threshold rises, each (T,) float64 in 0..1, from none to all.

    Attributes:
        unknown: The share of unknown images that are accepted, the horizontal axis of both curves.
        known: The share of known images that are accepted, the vertical axis of the ROC curve.
        right: The share of known images that are accepted and given their class, the vertical axis of the OSCR curve.
    """

    unknown: NDArray[np.float64]
    known: NDArray[np.float64]
    right: NDArray[np.float64]


def curves(known: Array, correct: Array, unknown: Array) -> Curves:
    """Return the points of the ROC and OSCR curves: the origin, and one point for each score that occurs.

    Equal scores are one step of the threshold, so that the areas under the straight lines between the points are those
    that `backmix.metrics.auroc` and `oscr` return.

    Args:
        known: (n,) unknown scores of known images.
        correct: (n,) bool, whether each known image is classified correctly.
        unknown: (m,) unknown scores of unknown images.
    """
    inside, outside = check_scores(known, unknown)
    right = check_mask(correct, inside.size, "correct")
    steps = np.unique(np.concatenate([inside, outside]))

    def accepted(scores: NDArray[np.float64], total: int) -> NDArray[np.float64]:
        return np.concatenate([[0.0], np.searchsorted(np.sort(scores), steps, "right") / total])

    return Curves(accepted(outside, outside.size), accepted(inside, inside.size), accepted(inside[right], inside.size))


def thinned(x: NDArray[np.float64], y: NDArray[np.float64], most: int = 300) -> NDArray[np.float64]:
    """Return points (P, 2) that stand for all points of a rising curve.

    These are its corners; if there are more than `most`, about `most` of them are kept.
    """
    points = np.stack([x, y], 1)
    if len(points) > 2:
        # In the middle of a straight line a point adds nothing.
        before, after = np.diff(points[:-1], axis=0), np.diff(points[1:], axis=0)
        bends = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-12
        points = points[np.concatenate([[True], bends, [True]])]
    if len(points) <= most:
        return points
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(points, axis=0)).sum(1))])
    chosen = np.searchsorted(way, np.linspace(0, way[-1], most))
    rows = np.unique(np.concatenate([[0], np.minimum(chosen, len(points) - 1), [len(points) - 1]]))
    return np.asarray(points[rows], dtype=np.float64)


def score_histogram(known: NDArray[np.float64], unknown: NDArray[np.float64], threshold: float | None) -> Markup:
    """Draw the histogram of the unknown scores, with the threshold.

    Bars of known images go upward and bars of unknown images downward. Each bar is a share of the images of its kind.

    Args:
        known: (n,) unknown scores of known images. `known` or `unknown` may be empty, but not both.
        unknown: (m,) unknown scores of unknown images.
        threshold: The threshold; None if there is none. An infinite threshold is not drawn.
    """
    both = np.concatenate([known, unknown])
    finite = both[np.isfinite(both)]
    low, high = (float(v) for v in np.quantile(finite, [0.005, 0.995])) if finite.size else (0.0, 1.0)
    drawn = threshold is not None and np.isfinite(threshold)
    if drawn and threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    room = 0.02 * (high - low) or max(0.5, abs(low) * 0.01)
    low, high = low - room, high + room
    edges = np.linspace(low, high, BARS + 1)
    if drawn and threshold is not None:
        # One edge lies on the threshold, so that each bar lies on one side of the threshold.
        width = (high - low) / BARS
        edges = threshold + width * np.arange(
            -np.ceil((threshold - low) / width), np.ceil((high - threshold) / width) + 1
        )
        low, high = float(edges[0]), float(edges[-1])

    def shares(scores: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.histogram(np.clip(scores, low, high), edges)[0]
        return np.asarray(found / max(1, scores.size), dtype=np.float64)

    above, below = shares(known), shares(unknown)
    top = max(0.05, 1.1 * float(above.max())) if known.size else 0.0
    bottom = max(0.05, 1.1 * float(below.max())) if unknown.size else 0.0
    chart = Chart((low, high), (-bottom, top), height=285, top=42)
    marks = ticks(-bottom, top, 7)
    chart.axes(
        ticks(low, high), marks, "unknown score: the higher, the stranger", "share of the images of each kind",
        y_label=lambda share: percent(abs(share)),
    )  # fmt: skip
    for left, right, up, down in zip(edges[:-1], edges[1:], above, below, strict=True):
        gap = 0.08 * (right - left)
        if up:
            chart.bar(left + gap, right - gap, 0, float(up), "known")
        if down:
            chart.bar(left + gap, right - gap, 0, -float(down), "strange")
    chart.line([(low, 0), (high, 0)], "axis")
    if known.size:
        chart.text(chart.left + 6, chart.top + 12, f"▲ known images ({known.size:,})", "label known-text")
    if unknown.size:
        chart.text(chart.left + 6, chart.bottom - 8, f"▼ unknown images ({unknown.size:,})", "label strange-text")
    if drawn and threshold is not None:
        chart.line([(threshold, -bottom), (threshold, top)], "threshold")
        right = chart.across(threshold) < (chart.left + chart.right) / 2
        place = chart.across(threshold) + (6 if right else -6)
        chart.text(place, chart.top - 6, f"threshold {number(threshold)}", "label" if right else "label end")
    return chart.svg(_score_words(known, unknown, threshold))


def _score_words(known: NDArray[np.float64], unknown: NDArray[np.float64], threshold: float | None) -> str:
    words = []
    for name, scores in (("known", known), ("unknown", unknown)):
        if scores.size:
            quarters = [number(float(v)) for v in np.quantile(scores, [0.25, 0.5, 0.75], method="nearest")]
            words.append(
                f"{count(scores.size, f'{name} image')}: median {quarters[1]}, "
                f"middle half from {quarters[0]} to {quarters[2]}."
            )
            if threshold is not None:
                words.append(f"{percent(float((scores > threshold).mean()))} of them lie above the threshold.")
    if threshold is not None:
        words.append(f"The threshold is {number(threshold)}.")
    return "Histogram of unknown scores. " + " ".join(words)


def p_value_histogram(bins: Bins) -> Markup:
    """Draw the number of known images with a p-value in each bin, and the number expected."""
    size = len(bins.counts)
    top = 1.12 * float(max(bins.counts.max(), bins.high.max(), 1))
    chart = Chart((0, 1), (0, top), height=270)
    edges = np.linspace(0, 1, size + 1).tolist()
    marks = [mark for mark in ticks(0, top) if mark == int(mark)]
    chart.axes([0, 0.2, 0.4, 0.6, 0.8, 1], marks, "p-value of known images", "images")
    for left, right, images, low, high in zip(edges[:-1], edges[1:], bins.counts, bins.low, bins.high, strict=True):
        chart.bar(left, right, float(low), float(high), "band")
        chart.bar(left + 0.012, right - 0.012, 0, float(images), "known soft")
    for left, right, mean in zip(edges[:-1], edges[1:], bins.expected, strict=True):
        chart.line([(left, float(mean)), (right, float(mean))], "threshold")
    outside = int(((bins.counts < bins.low) | (bins.counts > bins.high)).sum())
    numbers = ", ".join(f"{images:,}" for images in bins.counts.tolist())
    return chart.svg(
        f"Histogram of p-values in {size} bins from 0 to 1, holding {numbers} known images; about "
        f"{number(float(bins.expected.mean()))} are expected in each. "
        f"{count(outside, 'bin lies', 'bins lie')} outside the range of chance."
    )


@dataclass(frozen=True)
class OperatingPoint:
    """The shares at the threshold, each in 0..1.

    Attributes:
        unknown: The share of unknown images that are accepted.
        known: The share of known images that are accepted.
        right: The share of known images that are accepted and given their class.
    """

    unknown: float
    known: float
    right: float


def roc_curve(found: Curves, point: OperatingPoint | None, auroc: float) -> Markup:
    """Draw the ROC curve: the known images accepted over the unknown images accepted."""
    chart = _square("unknown images accepted", "known images accepted")
    chart.line([(0, 0), (1, 1)], "guide")
    chart.line(_pairs(thinned(found.unknown, found.known)), "curve known-line")
    words = f"ROC curve with an area of {auroc:.3f}."
    if point is not None:
        _mark(chart, point.unknown, point.known)
        words += (
            f" At the threshold {percent(point.known)} of the known images are accepted and {percent(point.unknown)} "
            "of the unknown ones."
        )
    return chart.svg(words)


def oscr_curve(found: Curves, point: OperatingPoint | None, oscr: float) -> Markup:
    """Draw the OSCR curve: the known images accepted and given their class over the unknown images accepted."""
    chart = _square("unknown images accepted", "known images accepted and right")
    best = float(found.right[-1])
    chart.line([(0, best), (1, best)], "guide")
    chart.text(chart.left + 6, chart.up(best) - 6, f"accuracy {percent(best)}", "label muted")
    chart.line(_pairs(thinned(found.unknown, found.right)), "curve known-line")
    words = f"OSCR curve with an area of {oscr:.3f}, ending at the accuracy of {percent(best)}."
    if point is not None:
        _mark(chart, point.unknown, point.right)
        words += (
            f" At the threshold {percent(point.right)} of the known images are accepted and right, and "
            f"{percent(point.unknown)} of the unknown ones are accepted."
        )
    return chart.svg(words)


def training_curve(values: list[float], name: str, *, shares: bool = False, from_zero: bool = True) -> Markup:
    """Draw one figure over the epochs.

    Args:
        values: The value of each epoch, finite; at least one.
        name: The name of the figure.
        shares: Whether the values are shares, shown as percent.
        from_zero: Whether the vertical axis begins at 0.
    """
    low, high = (0.0 if from_zero else min(values)), max(values)
    if shares:
        low, high = 0.0, 1.0
    if high <= low:
        low, high = low - 0.5 * abs(low) - 1e-6, high + 0.5 * abs(high) + 1e-6
    room = 0.0 if shares else 0.08 * (high - low)
    last = max(2, len(values))
    chart = Chart((1, last), (low if from_zero else low - room, high + room), width=300, height=200, left=52)
    epochs = [mark for mark in ticks(1, last) if mark == int(mark)]
    marks = [0, 0.25, 0.5, 0.75, 1] if shares else ticks(*chart.y_range)
    label = percent if shares else number
    chart.axes(epochs, marks, "epoch", name, x_label=lambda epoch: f"{epoch:.0f}", y_label=label)
    points = [(float(epoch + 1), value) for epoch, value in enumerate(values)]
    chart.line(points, "curve known-line")
    for x, y in points if len(points) <= MOST_DOTS else ():
        chart.dot(x, y, "known", 2.6)
    ends = f"{label(values[0])} in the first epoch, {label(values[-1])} in the last"
    return chart.svg(f"{name} over {count(len(values), 'epoch')}: {ends}.")


def _square(x_name: str, y_name: str) -> Chart:
    chart = Chart((0, 1), (0, 1), width=340, height=340)
    marks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    chart.axes(marks, marks, x_name, y_name, x_label=percent, y_label=percent)
    return chart


def _mark(chart: Chart, x: float, y: float) -> None:
    """Mark the threshold on a rising curve. Its label stands below and to the right, where nothing else is drawn."""
    chart.dot(x, y, "mark", 6)
    if x < 0.75:
        chart.text(chart.across(x) + 10, chart.up(y) + 18, "threshold", "label")
    else:
        chart.text(chart.right, chart.up(y) + 26, "threshold", "label end")


def _pairs(points: NDArray[np.float64]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]
