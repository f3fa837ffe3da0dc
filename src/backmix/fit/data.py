"""The images of a training: which classes, what is held out, and what is kept for a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backmix.data.digits import DigitsOnTextures
from backmix.data.folder import FolderSource, image_key
from backmix.data.load import absolute, available_splits, choose_known, load_source, training_split
from backmix.data.names import split_names
from backmix.data.near_duplicates import find_near_duplicates
from backmix.data.source import ImageSource, Subset, auto_image_size, count_per_class
from backmix.data.split import Split, auto_holdout
from backmix.errors import DataError
from backmix.inference.decider import Decider
from backmix.runs.held_out import Share, Shares, open_share
from backmix.threshold.conformal import min_held_out
from backmix.threshold.default import ACCEPT

MOST_COMPARED = 200_000  # Near-duplicates among more images than these are not looked for.
UNEVEN = 2.0  # A class this many times as large as another one: rare images are shown more often.

ImageBar = Callable[[int, str], AbstractContextManager[Callable[[int], object]]]
"""Given a number of images and what is done with them: a context that gives a function to call with those done."""


@dataclass(frozen=True)
class FitData:
    """What a training is made of.

    Attributes:
        source: the training images, those of other classes among them.
        held_out: the data's own validation images; None: a share of `source`.
        classes: names of the known classes.
        image_size: side in pixels.
        train_split: name of the split that `source` is; None where the data is not divided.
        val_split: of `held_out`.
        test_split: of the data's own test images; None where there are none.
        holdout: share of each class to calibrate on.
        test_share: share of each class to test on; 0 where the data has a split for it.
        groups: (N,) int64 near-duplicates among the images of `source`; None where they were not looked for.
    """

    source: ImageSource
    held_out: ImageSource | None
    classes: list[str]
    image_size: int
    train_split: str | None
    val_split: str | None
    test_split: str | None
    holdout: float
    test_share: float
    groups: Tensor | None

    @property
    def alike(self) -> int:
        """Images that have a near-duplicate."""
        if self.groups is None:
            return 0
        known = self.groups[self.groups >= 0]
        return int((torch.bincount(known)[known] > 1).sum()) if len(known) else 0


def open_data(
    data: str,
    *,
    known_classes: str | Sequence[str] | None = None,
    image_size: int | None = None,
    holdout: float | None = None,
    test_share: float | None = None,
    near_duplicates: bool = True,
    accept: float = ACCEPT,
    image_bar: ImageBar | None = None,
    workers: int = 2,
) -> FitData:
    """Open the images that a person named, and decide what to hold out.

    Args:
        data: DATA as it was typed.
        known_classes: names or numbers, as a list or as in `split_names`; None: all.
        image_size: side in pixels; None: by the images.
        holdout: share of each class to calibrate on; None: by the number of images.
        test_share: share of each class to test on; None: likewise, unless the data has a split for it.
        near_duplicates: whether to look for images that must not be divided.
        accept: share of known images to accept, which takes some images to calibrate on.
        image_bar: shows how many images of how many were read; None: nothing is shown.
        workers: threads that decode.
    """
    source, held_out = load_training_data(data)
    splits = available_splits(data)
    named = split_names(known_classes) if known_classes and isinstance(known_classes, str) else known_classes
    numbers = choose_known(source.classes, named or None)
    known = torch.isin(source.labels, torch.tensor(numbers)).nonzero().flatten()
    train_split = training_split(data)
    test_split = "test" if "test" in splits and train_split != "test" else None
    if holdout is None:
        # Too few images to calibrate on, and every image would be accepted.
        holdout = max(auto_holdout(len(known)), min(1 / 3, 1.25 * min_held_out(accept) / max(1, len(known))))
    if test_share is None:
        fewest = min((int((source.labels == number).sum()) for number in numbers), default=0)
        test_share = 0.0 if test_split or fewest < 3 else auto_holdout(len(known))
    groups = None
    divided = held_out is None or test_share > 0
    # The digits are drawn one by one: no two are photographs of the same thing.
    if near_duplicates and divided and 2 < len(known) <= MOST_COMPARED and not isinstance(source, DigitsOnTextures):
        groups = torch.full((len(source),), -1, dtype=torch.int64)
        bar = nullcontext() if image_bar is None else image_bar(len(known), "looking for near-duplicates")
        with bar as advance:
            groups[known] = find_near_duplicates(source, known, workers=workers, progress=advance)
    return FitData(
        source,
        held_out,
        [source.classes[number] for number in numbers],
        auto_image_size(source) if image_size is None else image_size,
        train_split,
        "val" if held_out is not None else None,
        test_split,
        holdout,
        test_share,
        groups,
    )


def is_uneven(labels: Tensor) -> bool:
    """Whether one class has more than twice the images of another; labels (N,) int64, -1 not counted."""
    counts = torch.bincount(labels[labels >= 0])
    return len(counts) > 0 and float(counts.max()) > UNEVEN * float(counts.min())


def held_out_shares(data: str, fitted: FitData, split: Split, known: Tensor) -> Shares:
    """What a training held out, to be found again.

    Args:
        data: DATA as it was typed.
        fitted: what was trained on.
        split: how it was divided.
        known: (N,) int64 class of each image of the source, -1 for others: these are kept for the test, as unknown.
    """

    def keys(positions: Tensor) -> list[str]:
        return [image_key(fitted.source, int(i)) for i in positions]

    calibration = Share(fitted.val_split) if fitted.val_split else Share(fitted.train_split, keys(split.held))
    if fitted.test_split:
        test = Share(fitted.test_split)
    elif len(split.test):
        others = ((known < 0) & (fitted.source.labels >= 0)).nonzero().flatten()
        test = Share(fitted.train_split, keys(torch.cat([split.test, others]).sort().values))
    else:
        test = Share(fitted.train_split, [])
    return Shares(absolute(data), calibration, test)


def test_figures(classifier: Decider, shares: Shares, workers: int) -> dict[str, Any] | None:
    """Figures on the images kept for a test; None where there are none."""
    source = open_share(shares, shares.test)
    known = classifier.labels_for(source)
    if not bool((known >= 0).any()):
        return None
    names = [classifier.detector]
    return classifier.evaluate(Subset(source, torch.arange(len(source))), detectors=names, workers=workers)


def load_training_data(data: str) -> tuple[ImageSource, ImageSource | None]:
    """The training images of DATA, and its validation images where it has a split for them beside one to train on."""
    train, splits = load_source(data, training_split(data)), available_splits(data)
    return train, load_source(data, "val") if {"train", "val"} <= {*splits} else None


def shown_unknowns(outliers: ImageSource, data: str, source: ImageSource, classes: Sequence[str]) -> list[str]:
    """Classes that the outliers show and DATA has too, in training images or, of a folder, in any split of it.

    Args:
        outliers: the images of no known class.
        data: DATA as it was typed.
        source: its training images.
        classes: the known ones, which are left out.
    """
    names = set(source.classes)
    if isinstance(source, FolderSource):  # Splits of other data may have to be fetched first.
        for split in available_splits(data):
            with suppress(DataError):  # A split that cannot be used is for those to hear of who ask for it.
                names |= set(load_source(data, split).classes)
    return [name for name, count in count_per_class(outliers).items() if count and name in names - set(classes)]


def notes(source: ImageSource) -> list[str]:
    """Sentences about what a folder holds beside images of classes."""
    found: list[str] = source.notes() if isinstance(source, FolderSource) else []
    return found
