"""Train a classifier on a source of images, and calibrate it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from backmix.augmentations import Chain, make_augmentation
from backmix.data.loader import Decoded, Loader, ResidentLoader, WorkerLoader, decode
from backmix.data.source import ImageSource, Subset, find_unreadable
from backmix.data.split import Split, divide, repeat_rare
from backmix.errors import DataError
from backmix.fit.auto_options import default_options
from backmix.fit.budget import measure_epoch
from backmix.fit.fit_report import FitReport
from backmix.fit.head import HeadReport, choose_after_training
from backmix.foregrounds import EstimatedMasks, ForegroundSource
from backmix.foregrounds.choose import choose_estimator
from backmix.inference.decider import Decider
from backmix.inference.evaluation import feature_maps
from backmix.methods import Method, TrainingBatch
from backmix.metrics.usefulness import Verdict
from backmix.mixing import BackMix
from backmix.mixing.default_dtype import in_float32
from backmix.outliers import Outliers, make_outliers
from backmix.train.bank import check_map, fill_bank
from backmix.train.loop import EpochReport, Progress, make_accelerator, train
from backmix.train.recipe import TrainOptions

RESIDENT_BYTES = 2 * 2**30  # Decoded data sets up to this size are kept in memory.
MIN_SIZE_FOR_CROPS = 96  # From this image size on, a random resized crop replaces the shifted crop.


Plan = Callable[[Callable[..., float], TrainOptions], TrainOptions]
"""A function that chooses the options of a training. Its arguments are a function that measures the seconds of an epoch
with some options, for about the time `seconds` (10 s without), and the options to begin with."""


@in_float32
def fit(
    classifier: Decider,
    source: ImageSource,
    *,
    options: TrainOptions | None = None,
    augmentation: str = "none",
    augmentation_options: dict[str, Any] | None = None,
    outliers: str | ImageSource | None = None,
    held_out: ImageSource | None = None,
    holdout: float | None = None,
    test_share: float = 0.0,
    groups: Tensor | None = None,
    split: Split | None = None,
    choose: bool = False,
    fill: bool = False,
    balance: bool = False,
    workers: int = 2,
    accelerator: Accelerator | None = None,
    plan: Plan | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_start: Callable[[TrainOptions, Split, list[tuple[str, str]]], None] | None = None,
    on_step: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> FitReport:
    """Train on the known images of a source, and calibrate on known images that were held out.

    Args:
        classifier: The classifier, which is changed in place.
        source: The training images. Images of classes that the classifier does not know are left out.
        options: The training options; None: defaults, with epochs and batch size by the number of images.
        augmentation: The name of the augmentation, see `backmix.augmentations.make_augmentation`.
        augmentation_options: The options of the augmentation. `foreground` of BackMix may also be a name in
            `backmix.foregrounds.FOREGROUND_SOURCES`; the masks are then estimated once, before training.
        outliers: Images of unknown classes, for methods that learn from them; "backgrounds" makes them from the
            training images, see `backmix.outliers.Backgrounds`. Other methods ignore them.
        held_out: The images for calibration; None: a share of the training images.
        holdout: The share of each class that is held out for calibration; None: see `auto_holdout`.
        test_share: A further share of each class that is kept for a test. Nothing is trained or fitted on it.
        groups: (len(source),) int64, the group of near-duplicates of each image, which stay together.
        split: The division of the images; None: `holdout`, `test_share` and `groups` decide.
        choose: Whether the unknown score is chosen by leaving classes out, see `choose_after_training`.
        fill: Whether the head is fitted already, so that its evidence maps fill the bank before the first epoch.
        balance: Whether images of rare classes are shown more than once per epoch, see `repeat_rare`.
        workers: The number of threads or processes that decode images.
        accelerator: The devices and processes; None: see `make_accelerator`.
        plan: A function that chooses the options by the time of an epoch, see `Plan`; not called when resuming.
        checkpoint: The file in which the training is kept.
        resume: Whether to go on from the checkpoint.
        on_start: A function that is called before training with the options, the split and the unreadable images.
        on_step: See `train`.
        on_epoch: See `train`.

    Raises:
        DataError: If there are too few images.
        TrainingError: See `train`.
    """
    estimator, augmentation_options = choose_estimator(augmentation_options)
    check_names(classifier, augmentation, augmentation_options, outliers, small=bool(options and options.small))
    check_images(classifier, outliers, held_out)
    labels = classifier.labels_to_train(source, workers)
    seed = options.seed if options is not None else 0
    split = split or divide(labels, classifier.classes, held_out is None, holdout, test_share, groups, seed)
    options = options or default_options(len(split.train))
    accelerator = accelerator or make_accelerator(options.precision)
    shown = repeat_rare(labels, split.train) if balance else split.train
    pictures = source if estimator is None else with_masks(classifier, source, estimator, split.train, workers)
    masks = augmentation_options.get("foreground") == "masks"
    loader, skipped = make_loader(classifier, pictures, labels, shown, options, accelerator, masks, workers)
    options = without_second_crops(options, loader, classifier.network.head)
    classifier.frozen = False

    def make_parts() -> tuple[Chain | None, Outliers | None]:
        chain = make_augmentation(augmentation, loader.num_images, classifier.preprocess, augmentation_options)
        return chain, make_training_outliers(classifier, outliers, loader, chain, workers)

    begun = resume and checkpoint is not None and checkpoint.exists()
    if plan is not None and not begun:
        options = planned(plan, options, classifier, loader, make_parts, checkpoint and checkpoint.parent)
    chain, others = make_parts()
    if on_start is not None:
        on_start(options, split, skipped)
    if fill and not begun:
        fill_banks(classifier, loader, (chain, others), accelerator, seed)
    history = train(
        classifier.network,
        loader,
        classifier.preprocess,
        options,
        chain,
        outliers=others,
        accelerator=accelerator,
        checkpoint=checkpoint,
        resume=resume,
        on_step=on_step,
        on_epoch=on_epoch,
    )
    head = learn_after_training(classifier, source, labels, split, workers, groups if choose else None, choose, seed)
    accuracy, unread, judged = calibrate(classifier, source, split, held_out, workers)
    return FitReport(history, split, accuracy, skipped + unread, backmix_of(chain), head, verdict=judged)


def backmix_of(chain: Chain | None) -> BackMix | None:
    """Return BackMix if it is part of an augmentation."""
    return None if chain is None else chain.backmix


def fill_banks(
    classifier: Decider,
    loader: Loader,
    parts: tuple[Chain | None, Outliers | None],
    accelerator: Accelerator,
    seed: int,
) -> None:
    """Let the evidence maps of a fitted head fill the bank of BackMix, in the augmentation or in the outliers."""
    chain, outliers = parts
    mix = backmix_of(chain) or getattr(outliers, "backmix", None)
    if mix is not None and isinstance(loader, ResidentLoader | WorkerLoader):
        network = classifier.network.to(accelerator.device)
        fill_bank(network, loader.whole(), classifier.preprocess, mix, accelerator=accelerator, seed=seed)


def with_masks(
    classifier: Decider, source: ImageSource, estimator: ForegroundSource, positions: Tensor, workers: int
) -> ImageSource:
    """Return the images of a source with estimated masks, which are made at once for the images at `positions`."""
    pictures = EstimatedMasks(source, estimator, workers=workers, decoding=classifier.preprocess.decoding)
    pictures.prepare(positions.tolist())
    return pictures


def check_images(classifier: Decider, outliers: str | ImageSource | None, held_out: ImageSource | None) -> None:
    """Raise an error if the method needs outliers and has none, or `held_out` has no image of a known class."""
    method = classifier.network.head
    if method.needs_outliers and outliers is None:
        method.check_outliers(TrainingBatch(torch.empty(0), torch.empty(0)))
    if held_out is not None and not bool((classifier.labels_for(held_out) >= 0).any()):
        known = ", ".join(classifier.classes)
        raise DataError(f"the images held out for calibration are of none of the classes {known}")


def make_training_outliers(
    classifier: Decider, outliers: str | ImageSource | None, loader: Loader, chain: Chain | None, workers: int
) -> Outliers | None:
    """Return the outliers that the method learns from; None if it uses none."""
    method = classifier.network.head
    if outliers is None or not method.uses_outliers:
        return None
    return make_outliers(
        outliers, loader.num_images, classifier.preprocess, chain, workers=workers, share=method.outlier_share
    )


def planned(
    plan: Plan,
    options: TrainOptions,
    classifier: Decider,
    loader: Loader,
    make_parts: Callable[[], tuple[Chain | None, Outliers | None]],
    folder: Path | None,
) -> TrainOptions:
    """Return the options that a plan chooses by the time of an epoch. The options of crops and flips do not change.

    Args:
        plan: The function that chooses the options.
        options: The options to begin with.
        classifier: The classifier that is to be trained; it is not changed.
        loader: The loader of the training images.
        make_parts: A function that makes the augmentation and the outliers of a training.
        folder: The folder in which the measurement writes a checkpoint; None: it writes no checkpoint.
    """
    without_crops = {name: getattr(options, name) for name in ("pad", "flip", "zoom")}

    def measure(how: TrainOptions, seconds: float = 10.0) -> float:
        chain, others = make_parts()
        how, network = replace(how, **without_crops), classifier.network
        rest: dict[str, Any] = {"outliers": others, "seconds": seconds, "folder": folder}
        return measure_epoch(network, loader, classifier.preprocess, how, chain, **rest)

    return replace(plan(measure, options), **without_crops)


def without_second_crops(options: TrainOptions, loader: Loader, method: Method) -> TrainOptions:
    """Return the options without crops and flips if the loader already crops and flips the images.

    If a method compares views, each view is still shifted and flipped, because the loader gives one crop of an image,
    and two views of one crop would be equal.
    """
    if isinstance(loader, WorkerLoader) and method.views == 1:
        return replace(options, pad=0.0, flip=0.0, zoom=0.0)
    return options


def learn_after_training(
    classifier: Decider,
    source: ImageSource,
    labels: Tensor,
    split: Split,
    workers: int,
    groups: Tensor | None,
    choose: bool,
    seed: int,
) -> HeadReport | None:
    """Let the method and the detectors learn from the training images after training.

    Returns:
        What was found about the unknown score if it was chosen by leaving classes out; else None.
    """
    positions = split.train
    if classifier.network.head.needs_statistics:
        classifier.network.head.learn(
            lambda: feature_maps(
                classifier.network,
                classifier.preprocess,
                source,
                labels,
                positions,
                precision=classifier.precision,
                workers=workers,
            )
        )
    classifier.keep_training_outputs(source, positions, workers=workers)
    return choose_after_training(classifier, groups, positions, seed) if choose else None


def calibrate(
    classifier: Decider, source: ImageSource, split: Split, held_out: ImageSource | None, workers: int
) -> tuple[float, list[tuple[str, str]], Verdict]:
    """Fit the thresholds.

    Returns:
        The accuracy on the held-out images, the unreadable ones among them, and whether that is more than a guess.
    """
    if held_out is None:
        outputs = classifier.calibrate(source, positions=split.held.tolist(), workers=workers)
    else:
        outputs = classifier.calibrate(held_out, workers=workers)
    return outputs.accuracy, outputs.skipped, classifier.judged(outputs)


def check_names(
    classifier: Decider,
    augmentation: str,
    options: dict[str, Any],
    outliers: str | ImageSource | None = None,
    *,
    small: bool = False,
) -> None:
    """Raise ValueError at once for a training that cannot be done as it was asked for.

    That is if the method has no loss, if no augmentation or option has such a name, or if the network's feature map has
    one cell and BackMix reads it.

    Args:
        classifier: The classifier that is to be trained.
        augmentation: The name of the augmentation.
        options: The options of the augmentation.
        outliers: The images of unknown classes; "backgrounds" are made with a BackMix.
        small: Whether images are also shown at three quarters of their side.
    """
    head = classifier.network.head
    head.check_loss()
    chain = make_augmentation(augmentation, 1, classifier.preprocess, options)
    mix = backmix_of(chain)
    if mix is None and outliers == "backgrounds" and head.uses_outliers:
        mix = BackMix(1)
    check_map(classifier.network.backbone, classifier.preprocess.image_size, mix, small=small)


def make_loader(
    classifier: Decider,
    source: ImageSource,
    labels: Tensor,
    positions: Tensor,
    options: TrainOptions,
    accelerator: Accelerator,
    masks: bool = False,
    workers: int = 2,
) -> tuple[Loader, list[tuple[str, str]]]:
    """Return a loader of the training images, and the (name, reason) of each unreadable image.

    Data sets of small images that fit into `RESIDENT_BYTES` get a `ResidentLoader`, and other data sets a
    `WorkerLoader`.

    Raises:
        DataError: If a class has no readable image.
    """
    size = classifier.preprocess.image_size
    shared: dict[str, Any] = {
        "batch_size": options.batch_size,
        "device": accelerator.device,
        "seed": options.seed,
        "rank": accelerator.process_index,
        "world": accelerator.num_processes,
    }
    if size < MIN_SIZE_FOR_CROPS and len(positions) * 3 * size * size <= RESIDENT_BYTES:
        decoded: Decoded = decode(
            source, labels, classifier.preprocess, positions=positions.tolist(), masks=masks, workers=workers
        )
        check_enough(decoded.labels, classifier.classes, decoded.skipped)
        return ResidentLoader(decoded, **shared), list(dict.fromkeys(decoded.skipped))
    bad = find_unreadable(Subset(source, positions), workers=workers)
    skipped = list(dict.fromkeys((error.path, error.reason) for error in bad.values()))
    good = [int(p) for row, p in enumerate(positions) if row not in bad]
    check_enough(labels[good], classifier.classes, skipped)
    return (
        WorkerLoader(source, labels, classifier.preprocess, positions=good, masks=masks, workers=workers, **shared),
        skipped,
    )


def check_enough(labels: Tensor, classes: list[str], skipped: list[tuple[str, str]]) -> None:
    """Raise DataError if a class has no readable image."""
    empty = [classes[k] for k in range(len(classes)) if not bool((labels == k).any())]
    if empty:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped[:3])
        raise DataError(f"no readable training image is left of {', '.join(empty)}. Unreadable: {reasons}")
