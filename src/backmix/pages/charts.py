"""Draw a chart as inline SVG with axes, bars and lines. The colours come from the page, so that it can be dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from markupsafe import Markup, escape

from backmix.pages.words import number


class Chart:
    """A chart of a page. Parts that are drawn later lie on top.

    Args:
        x: The smallest and largest value of the horizontal axis.
        y: The smallest and largest value of the vertical axis.
        width: The width of the whole chart in units. Text is 12 units high, so a chart shown at its width has text of
            12 pixels.
        height: The height of the whole chart in units.
        left: The room for the numbers beside the vertical axis, in units.
        bottom: The room for the numbers and the name below the horizontal axis, in units.
        top: The room for the name of the vertical axis, in units.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        width: int = 360,
        height: int = 240,
        left: int = 44,
        bottom: int = 42,
        top: int = 26,
    ) -> None:
        self.x_range, self.y_range = x, y
        self.width, self.height = width, height
        self.left, self.right, self.top, self.bottom = left, width - 24, top, height - bottom
        self._parts: list[Markup] = []

    def across(self, value: float) -> float:
        """Return the horizontal place of a value, in units of the chart."""
        low, high = self.x_range
        return self.left + (self.right - self.left) * (value - low) / (high - low)

    def up(self, value: float) -> float:
        """Return the vertical place of a value, in units of the chart."""
        low, high = self.y_range
        return self.bottom - (self.bottom - self.top) * (value - low) / (high - low)

    def axes(
        self,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        x_name: str,
        y_name: str,
        *,
        x_label: Callable[[float], str] = number,
        y_label: Callable[[float], str] = number,
    ) -> None:
        """Draw the axes with their names and numbers, and light grid lines at the ticks of the vertical axis."""
        for value in y_ticks:
            self.line([(self.x_range[0], value), (self.x_range[1], value)], "grid")
            self.text(self.left - 7, self.up(value) + 4, y_label(value), "tick end")
        for value in x_ticks:
            self.text(self.across(value), self.bottom + 17, x_label(value), "tick middle")
        self.line([(self.x_range[0], self.y_range[0]), (self.x_range[1], self.y_range[0])], "axis")
        self.text((self.left + self.right) / 2, self.height - 6, x_name, "name middle")
        self.text(0, 12, y_name, "name")

    def line(self, points: Iterable[tuple[float, float]], kind: str) -> None:
        """Draw a line through points."""
        path = " ".join(f"{_short(self.across(x))},{_short(self.up(y))}" for x, y in points)
        self._add('<polyline class="{}" points="{}"/>', kind, path)

    def bar(self, low: float, high: float, start: float, end: float, kind: str) -> None:
        """Draw a bar from low to high horizontally and from start to end vertically."""
        left, right = self.across(low), self.across(high)
        top, bottom = sorted((self.up(start), self.up(end)))
        size = (_short(left), _short(top), _short(max(0.5, right - left)), _short(bottom - top))
        self._add('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>', kind, *size)

    def dot(self, x: float, y: float, kind: str, radius: float = 4) -> None:
        """Draw a dot."""
        self._add(
            '<circle class="{}" cx="{}" cy="{}" r="{}"/>', kind, _short(self.across(x)), _short(self.up(y)), radius
        )

    def text(self, x: float, y: float, text: str, kind: str) -> None:
        """Write text at a place, which is given in units of the chart and not in values of its axes."""
        self._add('<text class="{}" x="{}" y="{}">{}</text>', kind, _short(x), _short(y), text)

    def svg(self, words: str) -> Markup:
        """Return the chart as one SVG element.

        Args:
            words: A description of the chart, with its numbers, for readers who cannot see it.
        """
        head = Markup('<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">')
        size = (self.width, self.height)
        return head.format(words, *size, *size) + Markup("").join(self._parts) + Markup("</svg>")

    def _add(self, form: str, *values: object) -> None:
        self._parts.append(Markup(form).format(*(escape(value) for value in values)))


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers within low..high, in steps of 1, 2 or 5 times a power of ten.

    Args:
        low: The beginning of the axis.
        high: The end of the axis.
        most: The largest number of ticks, 4 or more. There is at least one tick, and at least two if `most` is 6 or
            more.

    Raises:
        ValueError: Unless low is below high and both are finite.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"an axis goes from a lower to a higher number; got {low} to {high}")
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * times for times in (1, 2, 5, 10, 20, 50) if (high - low) / (power * times) <= most - 1 + 1e-9)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [0.0 if place == 0 else float(f"{place * step:.12g}") for place in range(first, last + 1)]


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
