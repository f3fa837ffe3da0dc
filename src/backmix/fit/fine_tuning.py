"""Train all weights from a head that was trained already, and keep the better of the two.

Which one is better is measured on a fifth of the training images. Neither of the two compared was trained on it: all
weights are trained on the other images, and so is a head of its own that stands for the head alone. Images that
calibrate or test have no part in it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backmix.data.seeds import seed_of
from backmix.data.source import ImageSource
from backmix.data.split import Split
from backmix.fit.fit_report import Comparison, FitReport
from backmix.fit.head import train_head
from backmix.fit.logistic import make_folds
from backmix.fit.training import fit
from backmix.inference.decider import Decider
from backmix.inference.frozen import FrozenFeatures
from backmix.methods.network import Network

LEAST_SECONDS = 20.0  # In less time, no training of all weights comes to anything.


def fine_tune(
    frozen: Decider,
    tuned: Decider,
    source: ImageSource,
    report: FitReport,
    *,
    cache: Path | None = None,
    groups: Tensor | None = None,
    seed: int = 0,
    workers: int = 2,
    train: Callable[..., FitReport] = fit,
    **options: Any,
) -> tuple[Decider, FitReport]:
    """Train all weights of a second classifier, and return the better of the two classifiers with its report.

    Args:
        frozen: The classifier of which the head alone was trained.
        tuned: The classifier to train, with published weights. Its images may have another size.
        source: The training images.
        report: The report of `frozen`.
        cache: The folder in which features are kept between runs; None: nothing is kept.
        groups: (len(source),) int64, the group of each image. Images of one group stay together.
        seed: The seed of everything random.
        workers: The number of threads that decode images.
        train: The function that trains all weights, `backmix.fit.training.fit`.
        options: Further arguments of `fit`.
    """
    labels = tuned.labels_for(source)
    used, aside = set_aside(labels, report.split.train, groups, seed)
    if not len(aside):
        why = "no class has an image to spare for a comparison"
        return frozen, replace(report, comparison=Comparison("head", report.held_out_accuracy, None, 0, why))
    rival = copy.copy(frozen)
    rival.network = Network(frozen.network.backbone, copy.deepcopy(frozen.network.head))
    tuned.frozen_features = FrozenFeatures(
        tuned.network.backbone.eval(), tuned.preprocess, precision=tuned.precision, folder=cache, build=False
    )
    for each in (rival, tuned):
        found = each.frozen_features.of(source, used.tolist(), workers=workers)
        known = None if groups is None else groups[found.positions]
        train_head(each, found.features, labels[found.positions], groups=known, choose=False, seed=seed, estimate=False)
    tuned.frozen_features = None  # These features are of weights that change now.
    split = Split(used, report.split.held, report.split.test)
    trained = train(tuned, source, split=split, groups=groups, fill=True, workers=workers, **options)
    head, all_weights = (accuracy(each, source, aside, workers) for each in (rival, tuned))
    kept = "all" if all_weights > head else "head"
    comparison = Comparison(kept, head, all_weights, len(aside))
    if kept == "all":
        # The division is told as it was made: the images set aside are training images too.
        return tuned, replace(trained, comparison=comparison)
    return frozen, replace(report, comparison=comparison)


def set_aside(labels: Tensor, train: Tensor, groups: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
    """Divide the positions of training images into those to train on and a fifth of each class to compare on.

    Args:
        labels: (N,) int64, the known class of each image of the source.
        train: (M,) int64, the positions of the training images.
        groups: (N,) int64, the group of near-duplicates of each image; None: every image is a group.
        seed: The seed of the division.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, "images to compare on"))
    folds = make_folds(labels[train], None if groups is None else groups[train], generator)
    return train[folds != 0], train[folds == 0]


def accuracy(classifier: Decider, source: ImageSource, positions: Tensor, workers: int) -> float:
    """Return the closed-set accuracy, 0..1, on the images at some positions (M,) of a source."""
    outputs = classifier.scores(source, [], positions=positions.tolist(), workers=workers)[0]
    return float((outputs.logits.argmax(1) == outputs.labels).double().mean())
