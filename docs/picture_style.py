"""The style of the pictures in the docs: legible on a phone that shows them 350 points wide, and to the colour-blind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

WIDTH = 4.6
"""The width of a figure in inches. A phone shows it at three quarters of its size, so 10 points look like 8."""
KNOWN, UNKNOWN, OTHER, INK = "#0072b2", "#d55e00", "#009e73", "#222222"
"""The blue, vermilion and green of the palette of Okabe and Ito, and a near-black."""

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
    """Return an empty figure of the common width, `height` inches high."""
    return Figure(figsize=(WIDTH, height), dpi=220, layout="constrained")


def show_image(axis: Axes, image: Any) -> None:
    """Show an image without ticks and without interpolation of its pixels."""
    axis.imshow(image, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of at most 256 colours, which is a third as large as one with all colours."""
    figure.savefig(path, facecolor="white")
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
