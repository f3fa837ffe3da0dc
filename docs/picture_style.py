"""How the pictures of the docs look: legible where a phone shows them 350 points wide, and without telling red from green."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

WIDTH = 4.6
"""Inches. A phone shows these at three quarters of their size, so 10 points come out as 8."""
KNOWN, UNKNOWN, OTHER, INK = "#0072b2", "#d55e00", "#009e73", "#222222"
"""Blue, vermilion and green of Okabe and Ito's palette, and nearly black."""

matplotlib.rcParams.update(
    {
        "font.size": 10.5,
        "axes.titlesize": 10.5,
        "axes.labelsize": 10.5,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "legend.fontsize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": INK,
        "text.color": INK,
        "axes.labelcolor": INK,
        "hatch.linewidth": 0.8,
        "image.cmap": "cividis",
    }
)


def new_figure(height: float) -> Figure:
    """An empty figure as wide as all of them, `height` inches high."""
    return Figure(figsize=(WIDTH, height), dpi=220, layout="constrained")


def show_image(axis: Axes, image: Any) -> None:
    """An image without ticks, its pixels as they are."""
    axis.imshow(image, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of at most 256 colours, a third as large as one of all of them."""
    figure.savefig(path, facecolor="white")
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
