"""From a data source to a trained and calibrated classifier."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from backmix import metrics
from backmix.augmentations import Chain, make_augmentation
from backmix.data.loader import Decoded, Loader, ResidentLoader, WorkerLoader, decode
from backmix.data.source import ImageSource, Subset, find_unreadable
from backmix.data.split import Split, divide, repeat_rare
from backmix.errors import DataError
from backmix.fit.budget import measure_epoch
from backmix.foregrounds import EstimatedMasks
from backmix.foregrounds.choose import choose_estimator
from backmix.inference.decider import Decider
from backmix.inference.evaluation import Outputs, feature_maps
from backmix.methods import Method, TrainingBatch
from backmix.mixing import BackMix
from backmix.models import BACKBONES
from backmix.outliers import Outliers, make_outliers
from backmix.train.loop import EpochReport, Progress, make_accelerator, train
from backmix.train.recipe import TrainOptions

RESIDENT_BYTES = 2 * 2**30  # Decoded sets up to this size are kept in memory.
MIN_SIZE_FOR_CROPS = 96  # From this side on a random resized crop replaces the shifted one.


@dataclass(frozen=True)
class FitReport:
    """What a fit came to.

    Attributes:
        history: one report per epoch.
        split: the positions in the source.
        held_out_accuracy: closed accuracy on the held-out images.
        skipped: (name, reason) of each unreadable image.
        augmentation: BackMix with its bank, None where the augmentation has none.
    """

    history: list[EpochReport]
    split: Split
    held_out_accuracy: float
    skipped: list[tuple[str, str]]
    augmentation: BackMix | None


Plan = Callable[[Callable[[TrainOptions], float], TrainOptions], TrainOptions]
"""Given what tells the seconds that an epoch takes under some options, and the options as they are: those to take."""


def auto_epochs(images: int, *, shown: int = 870_000) -> int:
    """Epochs for a training set of this size: about so many images shown in all, between 20 and 200 epochs."""
    return max(20, min(200, round(shown / max(1, images))))


def auto_batch_size(images: int, *, largest: int = 512) -> int:
    """Batch size for a training set of this size: at least 20 steps an epoch, between 16 and `largest` images."""
    size = largest
    while size > 16 and images // size < 20:
        size //= 2
    return size


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
    """Train on the known images of a source and calibrate on known images that were held out.

    Args:
        classifier: changed in place.
        source: training images; those of classes that the classifier does not know are left out.
        options: how to train; None: defaults, with epochs and batch size by the number of images.
        augmentation: by name, see `backmix.augmentations.make_augmentation`.
        augmentation_options: its options. BackMix's `foreground` may also be a name in
            `backmix.foregrounds.FOREGROUND_SOURCES`; the masks are then estimated once, before training.
        outliers: images of no known class, for methods that learn from them; "backgrounds" makes them of the training
            images themselves, see `backmix.outliers.Backgrounds`. Other methods do not look at them.
        held_out: images for calibration; None: a share of the training images.
        holdout: that share, split by class; None: see `auto_holdout`.
        test_share: further share that is kept for a test: nothing is trained or fitted on it.
        groups: (len(source),) int64, images of one group are not divided, see `find_near_duplicates`.
        balance: whether images of rare classes are shown more than once an epoch, see `repeat_rare`.
        workers: threads or processes that decode.
        accelerator: devices and processes.
        plan: chooses the options once it is known how long an epoch takes, see `Plan`; not asked when a training is
            resumed.
        checkpoint: file to keep the training in.
        resume: go on from it.
        on_start: told the options, the split and the unreadable images before training.
        on_step: see `train`.
        on_epoch: see `train`.

    Returns:
        A report.

    Raises:
        DataError: when there are too few images; TrainingError: see `train`.
    """
    estimator, augmentation_options = choose_estimator(augmentation_options)
    make_augmentation(augmentation, 1, classifier.preprocess, augmentation_options)  # A wrong name fails at once.
    check_images(classifier, outliers, held_out)
    seed = options.seed if options is not None else 0
    labels = classifier.labels_for(source)
    split = divide(labels, classifier.classes, held_out is None, holdout, test_share, groups, seed)
    count = len(split.train)
    if options is None:
        options = TrainOptions(epochs=auto_epochs(count), batch_size=auto_batch_size(count), seed=seed)
    accelerator = accelerator or make_accelerator(options.precision)
    shown = repeat_rare(labels, split.train) if balance else split.train
    pictures = source
    if estimator is not None:
        pictures = EstimatedMasks(source, estimator, workers=workers)
        pictures.prepare(split.train.tolist())
    masks = augmentation_options.get("foreground") == "masks"
    loader, skipped = make_loader(
        classifier, pictures, labels, shown, options, accelerator, masks=masks, workers=workers
    )
    options = without_second_crops(options, loader, classifier.network.head)

    def make_parts() -> tuple[Chain | None, Outliers | None]:
        chain = make_augmentation(augmentation, loader.num_images, classifier.preprocess, augmentation_options)
        return chain, make_training_outliers(classifier, outliers, loader, chain, workers)

    if plan is not None and not (resume and checkpoint is not None and checkpoint.exists()):
        options = planned(plan, options, classifier, loader, make_parts, checkpoint and checkpoint.parent)
    chain, others = make_parts()
    if on_start is not None:
        on_start(options, split, skipped)
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
    outputs = calibrate(classifier, source, labels, split, held_out, workers)
    accuracy = metrics.closed_accuracy(outputs.logits.argmax(1), outputs.labels)
    return FitReport(history, split, accuracy, skipped + outputs.skipped, chain.backmix if chain else None)


def check_images(classifier: Decider, outliers: str | ImageSource | None, held_out: ImageSource | None) -> None:
    """Raise an error where the method needs outliers and has none, or nothing could be calibrated on `held_out`."""
    method = classifier.network.head
    if method.needs_outliers and outliers is None:
        method.check_outliers(TrainingBatch(torch.empty(0), torch.empty(0)))
    if held_out is not None and not bool((classifier.labels_for(held_out) >= 0).any()):
        known = ", ".join(classifier.classes)
        raise DataError(f"the images held out for calibration are of none of the classes {known}")


def make_training_outliers(
    classifier: Decider, outliers: str | ImageSource | None, loader: Loader, chain: Chain | None, workers: int
) -> Outliers | None:
    """The outliers that the method learns from; None where it looks at none."""
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
    """The options that a plan takes once it knows how long an epoch takes; crops stay with whom they are with.

    Args:
        plan: chooses the options.
        options: those to begin with.
        classifier: what is to be trained; it stays as it is.
        loader: of the training images.
        make_parts: makes the augmentation and the outliers of a training.
        folder: place for what the measurement writes; None: the system's temporary folder.
    """
    without_crops = {name: getattr(options, name) for name in ("pad", "flip", "zoom")}

    def measure(how: TrainOptions) -> float:
        chain, others = make_parts()
        how = replace(how, **without_crops)
        return measure_epoch(
            classifier.network, loader, classifier.preprocess, how, chain, outliers=others, folder=folder
        )

    return replace(plan(measure, options), **without_crops)


def without_second_crops(options: TrainOptions, loader: Loader, method: Method) -> TrainOptions:
    """The options, without crops and flips where they come with the data.

    Where a method compares views, each is shifted and flipped once more: the data brings one crop of an image, and two
    views of that would be alike.
    """
    if isinstance(loader, WorkerLoader) and method.views == 1:
        return replace(options, pad=0.0, flip=0.0, zoom=0.0)
    return options


def calibrate(
    classifier: Decider,
    source: ImageSource,
    labels: Tensor,
    split: Split,
    held_out: ImageSource | None,
    workers: int,
) -> Outputs:
    """Take from the training images what the method and the detectors learn afterwards, and fit the thresholds.

    Returns:
        What the network says of the images held out.
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
    if held_out is None:
        return classifier.calibrate(source, positions=split.held.tolist(), workers=workers)
    return classifier.calibrate(held_out, workers=workers)


def make_loader(
    classifier: Decider,
    source: ImageSource,
    labels: Tensor,
    positions: Tensor,
    options: TrainOptions,
    accelerator: Accelerator,
    *,
    masks: bool = False,
    workers: int = 2,
) -> tuple[Loader, list[tuple[str, str]]]:
    """A resident loader for small images and sets, worker processes for the rest, and the unreadable images."""
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
    """Raise DataError when unreadable images leave a class without any."""
    empty = [classes[k] for k in range(len(classes)) if not bool((labels == k).any())]
    if empty:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped[:3])
        raise DataError(f"no readable training image is left of {', '.join(empty)}. Unreadable: {reasons}")


def auto_options(
    images: int,
    *,
    model: str,
    pretrained: bool = False,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    precision: str = "auto",
) -> TrainOptions:
    """Training options for a set of `images` images; what is given is kept.

    Our own networks train with Muon and strong augmentation: that is what reaches most in few epochs. Models of timm,
    transformers among them, train with AdamW: rate 1e-3 from random weights, 2e-4 from published ones. The weights are
    averaged over about the last seventh of the training.
    """
    epochs = auto_epochs(images) if epochs is None else epochs
    batch_size = auto_batch_size(images) if batch_size is None else batch_size
    steps = epochs * max(1, images // max(1, batch_size))
    common: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "ema": 1 - 1 / max(2, steps / 7),
        "seed": seed,
        "precision": precision,
    }
    if model in BACKBONES:
        # The noise of a gradient falls with the root of the batch, and so may the rate.
        rate = 0.01 * math.sqrt(batch_size / 512) if lr is None else lr
        return TrainOptions(lr=rate, optimizer="muon", weight_decay=0.2, jitter=0.3, erase=0.375, small=0.4, **common)
    if lr is None:
        lr = 2e-4 if pretrained else 1e-3
    return TrainOptions(lr=lr, optimizer="adamw", weight_decay=0.05, schedule="cosine", warmup=0.1, **common)
