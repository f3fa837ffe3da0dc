"""Draw the charts of the docs: scores, p-values, accepted shares over many splits, priors, the foreground bank."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib.ticker import PercentFormatter
from picture_style import INK, KNOWN, OTHER, UNKNOWN, new_figure, save, show_image
from torch import Tensor

from backmix import ConformalThreshold

SPLITS = 2000


def score_chart(threshold: ConformalThreshold, known: Tensor, unknown: Tensor, path: Path) -> None:
    """Draw the scores of the held-out known images, which set the threshold, and the scores of the test images."""
    every = torch.cat([threshold.scores, known, unknown])
    bins = np.linspace(float(every.min()), float(every.max()), 36)
    figure = new_figure(4.7)
    axes = figure.subplots(3, 1, sharex=True)
    shares = [float(threshold.accept(values).double().mean()) for values in (known, unknown)]
    rows = (
        (threshold.scores, KNOWN, "", "held-out known images", "They set\nthe threshold."),
        (
            known,
            KNOWN,
            "",
            "new known images",
            f"Promised: {threshold.accept_share:.0%} accepted.\nFound: {shares[0]:.0%}.",
        ),
        (unknown, UNKNOWN, "////", "unknown images", f"Nothing promised.\nFound: {1 - shares[1]:.0%} refused."),
    )
    for axis, (values, colour, hatch, name, says) in zip(axes, rows, strict=True):
        axis.hist(values, bins, color=colour, alpha=0.85, hatch=hatch, edgecolor="white", linewidth=0.4)
        axis.axvline(threshold.threshold, color=INK, linewidth=1.8)
        axis.set_yticks([])
        axis.set_ylim(0, 1.3 * axis.get_ylim()[1])
        axis.spines["left"].set_visible(False)
        axis.set_title(f"{len(values)} {name}", loc="left", color=colour, weight="bold")
        axis.text(0, 0.96, says, transform=axis.transAxes, va="top", fontsize=10)
    for text, side, shift in (("known", "right", -7), ("unknown", "left", 7)):
        axes[0].annotate(
            text,
            (threshold.threshold, axes[0].get_ylim()[1]),
            (shift, 0),
            textcoords="offset points",
            ha=side,
            va="top",
            fontsize=10,
            weight="bold",
        )
    axes[-1].set_xlabel("unknown score (higher = more unknown)")
    save(figure, path)


def splits(count: int, held_out: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield random splits of `count` images into held-out and new images; the splits are the same in every call."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(SPLITS):
        order = torch.randperm(count, generator=generator)
        yield order[:held_out], order[held_out:]


def p_value_chart(known: Tensor, unknown: Tensor, path: Path, *, accept: float = 0.95, held_out: int = 199) -> None:
    """Draw the shares of known and unknown images by p-value, over many splits of the known images."""
    edges = np.linspace(0, 1, round(1 / (1 - accept)) + 1)
    counts = np.zeros((2, len(edges) - 1))
    for held, new in splits(len(known), held_out):
        threshold = ConformalThreshold.fit(known[held], accept)
        for row, scores in zip(counts, (known[new], unknown), strict=True):
            # A p-value on an edge belongs to the bin below it, because an image is refused at 1 - accept or less.
            row += np.histogram(threshold.p_value(scores).numpy() - 1e-9, edges)[0]
    figure = new_figure(3.6)
    axes = figure.subplots(2, 1, sharex=True)
    rows = ((KNOWN, "", "known images: each p-value as often"), (UNKNOWN, "////", "unknown images: mostly small ones"))
    for axis, row, (colour, hatch, name) in zip(axes, counts / counts.sum(1, keepdims=True), rows, strict=True):
        axis.bar(
            edges[:-1],
            row,
            np.diff(edges),
            align="edge",
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.4,
            alpha=0.85,
        )
        axis.set_title(name, loc="left", color=colour, weight="bold")
        axis.axvline(1 - accept, color=INK, linewidth=1.8)
        axis.set_ylim(0, 1.35 * row.max())
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.text(
            1 - accept + 0.015,
            0.97,
            f"← {row[0]:.0%} are refused",
            transform=axis.get_xaxis_transform(),
            va="top",
            fontsize=10,
            weight="bold",
        )
    axes[-1].set_xlabel(f"p-value; refused at {1 - accept:.2g} and below")
    axes[-1].set_xlim(0, 1)
    figure.supylabel("share of the images", fontsize=10.5)
    save(figure, path)


def promise_chart(known: Tensor, path: Path, *, accept: float = 0.95, lowest: float = 0.8) -> None:
    """Draw the accepted share over many random splits of known images, for few and for many held-out images."""
    figure = new_figure(3.8)
    axes = figure.subplots(2, 1, sharex=True)
    for axis, held_out in zip(axes, (30, 200), strict=True):
        shares = []
        for held, new in splits(len(known), held_out):
            threshold = ConformalThreshold.fit(known[held], accept)
            shares.append(float(threshold.accept(known[new]).double().mean()))
        low, high = np.quantile(shares, (0.1, 0.9))
        bins = np.linspace(lowest, 1.0, 41)
        axis.hist(np.clip(shares, lowest, None), bins, color=KNOWN, alpha=0.85, edgecolor="white", linewidth=0.4)
        axis.axvline(accept, color=INK, linewidth=1.8)
        axis.set_title(f"{held_out} images held out", loc="left", color=KNOWN, weight="bold")
        says = f"mean: {statistics.fmean(shares):.0%}\n8 in 10 lie between\n{low:.0%} and {high:.0%}"
        axis.text(0, 0.95, says, transform=axis.transAxes, va="top", fontsize=10)
        axis.set_yticks([])
        axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
        axis.spines["left"].set_visible(False)
    top = (accept, axes[0].get_ylim()[1])
    how = {"textcoords": "offset points", "va": "top", "ha": "right", "fontsize": 10, "weight": "bold"}
    axes[0].annotate("promised", top, (-6, 0), **how)
    axes[1].set_xlabel("share of new known images that is accepted")
    axes[1].set_xlim(lowest, 1.0)
    axes[1].set_xticks((0.8, 0.85, 0.9, 0.95, 1.0), ("≤ 80%", "85%", "90%", "95%", "100%"))
    save(figure, path)


def prior_chart(results: Path, path: Path) -> None:
    """Draw the AUROC by prior, on textures as in training and on random textures: mean and deviation over seeds."""
    cells = json.loads(results.read_text(encoding="utf-8"))["cells"]
    priors = sorted({cell["prior"] for cell in cells})
    kinds = {
        "none": ("nothing\nadded", UNKNOWN, "o", "-"),
        "patch, free": ("BackMix,\nown maps", KNOWN, "s", "--"),
        "swap, saliency": ("swap,\nsaliency", OTHER, "^", "-."),
    }
    figure = new_figure(3.6)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, end, title in zip(axes, ("", "_random_textures"), ("as in training", "at random"), strict=True):
        for number, (kind, (name, colour, marker, line)) in enumerate(kinds.items()):
            found = [[100 * c["auroc" + end] for c in cells if c["kind"] == kind and c["prior"] == p] for p in priors]
            means, spread = [statistics.fmean(f) for f in found], [statistics.stdev(f) for f in found]
            places = np.arange(len(priors)) + 0.06 * (number - 1)  # Keeps the error bars apart.
            axis.errorbar(
                places,
                means,
                spread,
                color=colour,
                marker=marker,
                linestyle=line,
                capsize=2.5,
                linewidth=1.8,
                markersize=6,
                label=name,
            )
        axis.set_xticks(range(len(priors)), [f"{prior:g}" for prior in priors])
        axis.set_xlim(-0.3, len(priors) - 0.7)
        axis.set_title(title, weight="bold")
        axis.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes[0].set_ylabel("AUROC, percent")
    figure.supxlabel("how often a training digit stands on its own texture", fontsize=10.5)
    figure.suptitle("Textures of the test images", fontsize=11)
    axes[0].legend(loc="lower left", frameon=False, handlelength=2.6)
    save(figure, path)


def bank_chart(images: Tensor, masks: Tensor, banks: Tensor, found: dict[str, list[float]], path: Path) -> None:
    """Draw the maps of a few images in the bank over the epochs, and the share of the digits that the bank finds."""
    epochs = (1, 2, 4, len(banks))
    figure = new_figure(4.9)
    upper, lower = figure.subfigures(2, 1, height_ratios=(0.78 * len(images) + 0.4, 2.2))
    axes = upper.subplots(len(images), len(epochs) + 2, squeeze=False)
    size = images.shape[-1]
    extent = (-0.5, size - 0.5, size - 0.5, -0.5)
    shown = banks[[epoch - 1 for epoch in epochs]]
    # The scale spans the values of all maps shown, because all maps begin at 0.5 and change slowly.
    scale = {"vmin": float(shown.min()), "vmax": float(shown.max())}
    for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
        for axis in axes[row]:
            show_image(axis, image.permute(1, 2, 0))
        for axis, maps in zip(axes[row, 1:-1], shown, strict=True):
            axis.imshow(maps[row], extent=extent, interpolation="nearest", **scale)
        axes[row, -1].imshow(mask, extent=extent)
    for axis, title in zip(axes[0], ("image", *(f"epoch\n{epoch}" for epoch in epochs), "true\nmask"), strict=True):
        axis.set_title(title, fontsize=10, weight="bold")
    axis = lower.subplots()
    styles = ((KNOWN, "o", "-", 0.05), (UNKNOWN, "s", "--", -0.15))
    for (prior, values), (colour, marker, line, away) in zip(found.items(), styles, strict=True):
        axis.plot(range(1, len(values) + 1), values, color=colour, marker=marker, linestyle=line, linewidth=1.8)
        name = f"own texture {float(prior):.0%} of the time"
        axis.text(len(values) + 0.1, values[-1] + away, name, color=colour, weight="bold", fontsize=10, ha="right")
    axis.axhline(0.25, color=INK, linewidth=1.2, linestyle=":")
    axis.text(1, 0.245, "cells at random", fontsize=10, va="top")
    axis.set_ylim(0.15, 0.75)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_ylabel("share of the\ndigit found")
    axis.set_xlabel("epochs of training")
    axis.set_xticks(range(1, len(banks) + 1))
    save(figure, path)
