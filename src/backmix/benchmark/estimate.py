"""Estimate how long a grid takes on this machine, from the measured time of a few steps of each kind of cell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from backmix.augmentations import make_augmentation
from backmix.benchmark.cell import Plan, make_classifier, plan_cell
from backmix.benchmark.grid import Cell
from backmix.benchmark.grid_options import GridOptions
from backmix.data.loader import Decoded, ResidentLoader
from backmix.fit.mixed_views import VIEWS
from backmix.inference.engine import measure
from backmix.inference.feature_cache import default_folder
from backmix.inference.frozen import FrozenFeatures
from backmix.outliers import make_outliers
from backmix.train.loop import make_accelerator, train

STEPS = 3  # The first step does not count, because it also fills caches.


def estimate_seconds(
    cells: Sequence[Cell], options: GridOptions, *, measure_cell: Callable[[Cell, Plan], float] | None = None
) -> dict[str, float]:
    """Return the estimated seconds of training for each cell, by name.

    Cells that differ only in trial or seed take the same time per step, so one cell of each kind is measured. The
    estimate includes neither the reading of the images nor the evaluation. Cells with a frozen backbone take at most
    the estimated time, because features may have been kept from before.

    Args:
        cells: The cells that are still to run.
        options: The options of the grid.
        measure_cell: A function that returns the seconds of a training step of a cell, or of one image if the
            backbone is frozen. None: `seconds_per_step`.
    """
    seconds_of = measure_cell or seconds_per_step
    per_step: dict[tuple[str, ...], float] = {}
    found = {}
    for cell in cells:
        plan = plan_cell(cell, options)
        alike = (plan.setting.model, plan.setting.image_size, len(plan.trial.train.classes), cell.recipe)
        kind = tuple(map(str, (*alike, cell.method, plan.augmentation, cell.variant)))
        if kind not in per_step:
            per_step[kind] = seconds_of(cell, plan)
        training = plan.setting.options
        if plan.setting.frozen:
            views = 0 if plan.augmentation == "none" else VIEWS
            found[cell.name] = per_step[kind] * plan.setting.images * (1 + views)
            continue
        steps = training.epochs * max(1, plan.setting.images // training.batch_size)
        # Images at three quarters of their side take about half the time.
        found[cell.name] = per_step[kind] * steps * (1 - 0.45 * training.small)
    return found


def seconds_per_step(cell: Cell, plan: Plan) -> float:
    """Measure the seconds of a training step at full image size, on random images; if frozen, those of an image."""
    setting = plan.setting
    if setting.frozen:
        still = make_classifier(cell, plan)
        how: dict[str, Any] = {"precision": setting.options.precision, "folder": default_folder()}
        return 1 / measure(
            FrozenFeatures(still.network.backbone.eval(), still.preprocess, **how).engine, still.preprocess
        )
    training = replace(setting.options, epochs=1, small=0.0)
    classifier = make_classifier(cell, plan)
    accelerator = make_accelerator(training.precision)
    count, size = STEPS * training.batch_size, setting.image_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % len(classifier.classes)
    masks = torch.zeros(count, size, size, dtype=torch.bool) if "masks" in cell.variant else None
    decoded = Decoded(images, labels, masks, torch.arange(count), [])
    loader = ResidentLoader(decoded, batch_size=training.batch_size, device=accelerator.device, seed=0)
    chain = make_augmentation(plan.augmentation, count, classifier.preprocess, plan.augmentation_options)
    head = classifier.network.head
    outliers = None
    if head.uses_outliers:
        outliers = make_outliers(
            "backgrounds", count, classifier.preprocess, chain, workers=1, share=head.outlier_share
        )
    times: list[float] = []
    train(
        classifier.network,
        loader,
        classifier.preprocess,
        training,
        chain,
        outliers=outliers,
        accelerator=accelerator,
        read_every=1,
        on_step=lambda _: times.append(time.monotonic()),
    )
    return (times[-1] - times[0]) / (len(times) - 1)
