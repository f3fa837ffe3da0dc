"""How long a grid will take on this machine: a few steps of each kind of cell, measured, times how many there are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from backmix.augmentations import make_augmentation
from backmix.benchmark.cell import Plan, make_classifier, plan_cell
from backmix.benchmark.grid import Cell
from backmix.benchmark.grid_options import GridOptions
from backmix.data.loader import Decoded, ResidentLoader
from backmix.outliers import make_outliers
from backmix.train.loop import make_accelerator, train

STEPS = 3  # The first one, which also fills caches, does not count.


def estimate_seconds(
    cells: Sequence[Cell], options: GridOptions, *, measure: Callable[[Cell, Plan], float] | None = None
) -> dict[str, float]:
    """Seconds of training for each cell, by name.

    Cells that differ in trial or seed alone take the same time per step, so one of each kind is measured. Reading the
    images and the evaluation are not in it.

    Args:
        cells: those that are still to run.
        options: of the grid.
        measure: seconds of a step; None: measured on random images.
    """
    measure = measure or seconds_per_step
    per_step: dict[tuple[str, ...], float] = {}
    found = {}
    for cell in cells:
        plan = plan_cell(cell, options)
        alike = (plan.setting.model, plan.setting.image_size, len(plan.trial.train.classes), cell.recipe)
        kind = tuple(map(str, (*alike, cell.method, plan.augmentation, cell.variant)))
        if kind not in per_step:
            per_step[kind] = measure(cell, plan)
        training = plan.setting.options
        steps = training.epochs * max(1, plan.setting.images // training.batch_size)
        # At three quarters of their side images take about half the time.
        found[cell.name] = per_step[kind] * steps * (1 - 0.45 * training.small)
    return found


def seconds_per_step(cell: Cell, plan: Plan) -> float:
    """Measured seconds of a training step at full image size, on random images."""
    setting = plan.setting
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
