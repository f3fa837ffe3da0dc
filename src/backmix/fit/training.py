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
from backmix.data.source import ImageSource, find_unreadable
from backmix.data.split import Split, repeat_rare, split_apart, split_known
from backmix.errors import DataError
from backmix.fit.budget import measure_epoch
from backmix.foregrounds import EstimatedMasks
from backmix.foregrounds.choose import choose_estimator
from backmix.inference.decider import Decider
from backmix.inference.evaluation import feature_maps
from backmix.methods import TrainingBatch
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
    method = classifier.network.head
    if method.needs_outliers and outliers is None:
        method.check_outliers(TrainingBatch(torch.empty(0), torch.empty(0)))
    if held_out is not None and not bool((classifier.labels_for(held_out) >= 0).any()):
        known = ", ".join(classifier.classes)
        raise DataError(f"the images held out for calibration are of none of the classes {known}")
    seed = options.seed if options is not None else 0
    labels = classifier.labels_for(source)
    if groups is None and not test_share:
        split = split_known(labels, classifier.classes, held_out is None, holdout, seed)
    else:
        split = split_apart(labels, classifier.classes, held_out is None, holdout, test_share, groups, seed)
    count = len(split.train)
    if options is None:
        options = TrainOptions(epochs=auto_epochs(count), batch_size=auto_batch_size(count), seed=seed)
    accelerator = accelerator or make_accelerator(options.precision)
    shown = repeat_rare(labels, split.train) if balance else split.train
    needs_masks = augmentation_options.get("foreground") == "masks"
    pictures = source
    if estimator is not None:
        pictures = EstimatedMasks(source, estimator, workers=workers)
        pictures.prepare(split.train.tolist())
    loader, skipped = make_loader(
        classifier, pictures, labels, shown, options, accelerator, masks=needs_masks, workers=workers
    )
    if isinstance(loader, WorkerLoader) and method.views == 1:
        # Crops and flips come with the data. Where a method compares views, each is shifted and flipped once more:
        # the data brings one crop of an image, and two views of that would be alike.
        options = replace(options, pad=0.0, flip=0.0, zoom=0.0)

    def make_parts() -> tuple[Chain | None, Outliers | None]:
        chain = make_augmentation(augmentation, loader.num_images, classifier.preprocess, augmentation_options)
        if outliers is None or not method.uses_outliers:
            return chain, None
        return chain, make_outliers(
            outliers, loader.num_images, classifier.preprocess, chain, workers=workers, share=method.outlier_share
        )

    if plan is not None and not (resume and checkpoint is not None and checkpoint.exists()):
        without_crops = {name: getattr(options, name) for name in ("pad", "flip", "zoom")}

        def measure(how: TrainOptions) -> float:
            parts, others = make_parts()
            how = replace(how, **without_crops)
            folder = None if checkpoint is None else checkpoint.parent
            return measure_epoch(
                classifier.network, loader, classifier.preprocess, how, parts, outliers=others, folder=folder
            )

        options = replace(plan(measure, options), **without_crops)
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
    if method.needs_statistics:
        model, how = classifier.network, classifier.preprocess
        method.learn(
            lambda: feature_maps(
                model, how, source, labels, split.train, precision=classifier.precision, workers=workers
            )
        )
    classifier.keep_training_outputs(source, split.train, workers=workers)
    if held_out is None:
        outputs = classifier.calibrate(source, positions=split.held.tolist(), workers=workers)
    else:
        outputs = classifier.calibrate(held_out, workers=workers)
    accuracy = metrics.closed_accuracy(outputs.logits.argmax(1), outputs.labels)
    mix = chain.backmix if chain is not None else None
    return FitReport(history, split, accuracy, skipped + outputs.skipped, mix)


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
    from backmix.data.source import Subset

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
