"""Train a classifier whose backbone keeps its published weights: one pass over the images, then the head."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from backmix.data.source import ImageSource
from backmix.data.split import Split, divide, repeat_rare
from backmix.detectors import default_detector
from backmix.errors import DataError
from backmix.fit.data import ImageBar
from backmix.fit.fit_report import FitReport
from backmix.fit.head import HeadReport, train_head, train_head_on_views
from backmix.fit.mixed_views import VIEWS, check_views, mix_views
from backmix.fit.training import backmix_of, check_images
from backmix.inference.decider import Decider
from backmix.inference.frozen import FrozenFeatures
from backmix.mixing import BackMix
from backmix.mixing.default_dtype import in_float32
from backmix.train.bank import check_map

LEAST_TIMED = 200  # A pass over fewer images is soon done.
TIMED = 48  # The number of images that are timed.


@in_float32
def fit_frozen(
    classifier: Decider,
    source: ImageSource,
    *,
    cache: Path | None = None,
    detector: str | None = None,
    augmentation: str = "none",
    augmentation_options: dict[str, Any] | None = None,
    views: int = VIEWS,
    outliers: ImageSource | None = None,
    held_out: ImageSource | None = None,
    holdout: float | None = None,
    test_share: float = 0.0,
    groups: Tensor | None = None,
    balance: bool = False,
    seed: int = 0,
    workers: int = 2,
    image_bar: ImageBar | None = None,
    on_start: Callable[[FrozenFeatures, Split, int], None] | None = None,
) -> FitReport:
    """Train the head of a classifier on features of its frozen backbone, choose its score, and calibrate it.

    Args:
        classifier: The classifier, which is changed in place.
        source: The training images. Images of classes that the classifier does not know are left out.
        cache: The folder in which features are kept between runs; None: nothing is kept.
        detector: The unknown score that decides. None: it is chosen by leaving classes out, see
            `backmix.fit.leave_classes_out`.
        augmentation: The name of the augmentation, see `backmix.augmentations.make_augmentation`. With one, the head
            learns from mixed views of each image too, see `backmix.fit.mixed_views`.
        augmentation_options: The options of the augmentation, see `backmix.fit.training.fit`.
        views: The number of mixed views of each image.
        outliers: Images of unknown classes, for methods that learn from them.
        held_out: The images for calibration; None: a share of the training images.
        holdout: The share of each class that is held out for calibration; None: see `auto_holdout`.
        test_share: A further share of each class that is kept for a test.
        groups: (len(source),) int64, the group of each image. Images of one group stay together.
        balance: Whether images of rare classes count more, see `repeat_rare`.
        seed: The seed of everything random.
        workers: The number of threads that decode images.
        image_bar: A function that shows the progress of the pass over the images; None: nothing is shown.
        on_start: A function that is called before the pass with what computes the features, the split and the number of
            images.

    Returns:
        The report of the fit.

    Raises:
        DataError: If there are too few images.
        ValueError: If there is no such augmentation, or a frozen network cannot be trained with it.
    """
    chain = check_views(augmentation, classifier.preprocess, augmentation_options, views)
    check_map(classifier.network.backbone, classifier.preprocess.image_size, backmix_of(chain))
    check_images(classifier, outliers, held_out)
    labels = classifier.labels_to_train(source, workers)
    split = divide(labels, classifier.classes, held_out is None, holdout, test_share, groups, seed)
    frozen = FrozenFeatures(
        classifier.network.backbone.eval(), classifier.preprocess, precision=classifier.precision, folder=cache
    )
    classifier.frozen, classifier.frozen_features, classifier.cache_folder = True, frozen, cache
    # One pass takes the images of the test as well. If none are kept for it, images of other classes have no use.
    strange = ((labels < 0) & (source.labels >= 0)).nonzero()[:, 0] if len(split.test) else split.test
    wanted = torch.cat([split.train, split.held, split.test, strange])
    sampled = time_pass(frozen, source, wanted, workers)
    if on_start is not None:
        on_start(frozen, split, len(wanted))
    bar = nullcontext() if image_bar is None else image_bar(len(wanted), "running the network once on every image")
    with bar as advance:
        found = frozen.of(source, wanted.tolist(), workers=workers, on_images=advance)
    rows = torch.isin(found.positions, split.train).nonzero()[:, 0]
    positions = found.positions[rows]
    weights = None
    if balance:
        weights = torch.bincount(repeat_rare(labels, split.train), minlength=len(labels))[positions].float()
    strangers = None
    if outliers is not None and classifier.network.head.uses_outliers:
        strangers = frozen.of(outliers, workers=workers).features
    classifier.detector = detector or default_detector(classifier.settings["method"])
    report = train_head(
        classifier,
        found.features[rows],
        labels[positions],
        groups=None if groups is None else groups[positions],
        weights=weights,
        choose=detector is None,
        seed=seed,
        outliers=strangers,
        computed=sampled + found.computed,
    )
    mix: BackMix | None = None
    if augmentation != "none":
        mixing = _Mixing(augmentation, augmentation_options, views, seed, workers, image_bar)
        report, mix = _learn_from_views(
            mixing, classifier, source, labels, positions, found.features[rows], report, weights, strangers
        )
    classifier.keep_training_outputs(source, split.train, references=report.references, workers=workers)
    shown, where = (source, split.held.tolist()) if held_out is None else (held_out, None)
    outputs = classifier.calibrate(shown, positions=where, workers=workers)
    skipped = list(dict.fromkeys(found.skipped + outputs.skipped))
    return FitReport([], split, outputs.accuracy, skipped, mix, report, verdict=classifier.judged(outputs))


def time_pass(frozen: FrozenFeatures, source: ImageSource, wanted: Tensor, workers: int) -> int:
    """Measure how long the pass over the images will take, by a part of it that is then done: `seconds_of_pass`.

    Args:
        frozen: What computes the features. Its `seconds_of_pass` stays None for few images.
        source: The images.
        wanted: (N,) int64, the positions of the images of the pass.
        workers: The number of threads that decode images.

    Returns:
        The number of images that the network ran on.
    """
    if len(wanted) < LEAST_TIMED:
        return 0
    # Evenly spread images: where some features are kept from before, the sample has its share of them.
    sample = wanted[:: max(1, len(wanted) // TIMED)]
    computed = 0
    for part in (sample[: len(sample) // 3], sample[len(sample) // 3 :]):  # The first images warm the engine up.
        begin = time.monotonic()
        try:
            computed += frozen.of(source, part.tolist(), workers=workers).computed
        except DataError:  # None of these can be read. The pass itself tells what is wrong.
            return computed
        frozen.seconds_of_pass = (time.monotonic() - begin) * (len(wanted) - len(sample)) / len(part)
    return computed


class _Mixing(NamedTuple):
    """What `fit_frozen` was told about mixed views; its arguments describe it."""

    augmentation: str
    options: dict[str, Any] | None
    views: int
    seed: int
    workers: int
    image_bar: ImageBar | None


def _learn_from_views(
    mixing: _Mixing,
    classifier: Decider,
    source: ImageSource,
    labels: Tensor,
    positions: Tensor,
    features: Tensor,
    report: HeadReport,
    weights: Tensor | None,
    outliers: Tensor | None,
) -> tuple[HeadReport, BackMix | None]:
    """Mix the training images, and train the head again on images and views; return its report and BackMix."""
    augmentation, options, views, seed, workers, image_bar = mixing
    bar = nullcontext() if image_bar is None else image_bar(len(positions) * views, f"mixing {views} views of an image")
    with bar as advance:
        mixed = mix_views(
            classifier,
            source,
            labels,
            positions,
            augmentation,
            options,
            views=views,
            seed=seed,
            workers=workers,
            on_views=advance,
        )
    own = F.one_hot(labels[positions], len(classifier.classes)).float()
    train_head_on_views(
        classifier,
        torch.cat([features, mixed.features]),
        torch.cat([own, mixed.targets]),
        report,
        weights=None if weights is None else weights.repeat(1 + views),
        seed=seed,
        outliers=outliers,
    )
    return replace(report, views=views, views_computed=mixed.computed, mixed=mixed.mixed), mixed.backmix
