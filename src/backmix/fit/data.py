"""Open the images of a training, and choose the classes and the images to hold out for calibration and test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backmix.data.content import content_keys
from backmix.data.digits import DigitsOnTextures
from backmix.data.folder import FolderSource, image_key
from backmix.data.load import absolute, available_splits, choose_known, load_source, training_split
from backmix.data.names import split_names
from backmix.data.near_duplicates import find_near_duplicates
from backmix.data.source import ImageSource, Subset, auto_image_size, count_per_class
from backmix.data.split import Split, auto_holdout
from backmix.errors import DataError
from backmix.inference.decider import Decider
from backmix.inference.feature_cache import FeatureCache
from backmix.runs.held_out import Share, Shares, open_share
from backmix.threshold.conformal import min_held_out
from backmix.threshold.default import ACCEPT

# The number changes when `find_near_duplicates` finds other groups, so that those kept before are not used any more.
_GROUPS = "groups of near-duplicates 1"
MOST_COMPARED = 200_000  # Near-duplicates are not searched for among more images.
UNEVEN = 2.0  # If a class is more than this many times as large as another, images of rare classes are repeated.

ImageBar = Callable[[int, str], AbstractContextManager[Callable[[int], object]]]
"""A function that takes a number of images and a text about their processing, and returns a context. The context gives
a function that is called with the number of images done so far."""


@dataclass(frozen=True)
class FitData:
    """The data of a training.

    Attributes:
        source: The training images, including images of unknown classes.
        held_out: The validation images of the data; None: a share of `source` is held out.
        classes: The names of the known classes.
        image_size: The side of the images in pixels.
        train_split: The name of the split of `source`; None if the data is not divided.
        val_split: The name of the split of `held_out`; None if there is none.
        test_split: The name of the split of the test images of the data; None if there is none.
        holdout: The share of each class to calibrate on.
        test_share: The share of each class to test on; by default 0 if the data has a split for it.
        groups: (N,) int64, the group of near-duplicates of each image of `source`, -1 for images that were not
            compared; None if near-duplicates were not searched for.
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
        """The number of images that have a near-duplicate."""
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
    accept: float | None = None,
    cache: Path | None = None,
    image_bar: ImageBar | None = None,
    workers: int = 2,
) -> FitData:
    """Open the images that a person named, and choose the shares to hold out.

    Args:
        data: DATA as it was typed.
        known_classes: The names or numbers of the known classes, as a list or as in `split_names`; None: all classes.
        image_size: The side of the images in pixels; None: it is chosen by the images.
        holdout: The share of each class to calibrate on; None: it is chosen by the number of images.
        test_share: The share of each class to test on; None: it is chosen by the number of images, and is 0 if the data
            has a split for it.
        near_duplicates: Whether to search for near-duplicates, which must stay together.
        accept: The share of known images to accept; None: the usual one. It decides how many images are needed to
            calibrate on.
        cache: The folder in which the near-duplicates of the same images are kept between runs; None: nothing is kept.
        image_bar: A function that shows the number of images read so far; None: nothing is shown.
        workers: The number of threads that decode images.
    """
    source, held_out = load_training_data(data)
    splits = available_splits(data)
    named = split_names(known_classes) if known_classes and isinstance(known_classes, str) else known_classes
    numbers = choose_known(source.classes, named or None)
    known = torch.isin(source.labels, torch.tensor(numbers)).nonzero().flatten()
    train_split = training_split(data)
    test_split = "test" if "test" in splits and train_split != "test" else None
    if holdout is None:
        # With too few images to calibrate on, every image would be accepted.
        holdout = max(auto_holdout(len(known)), min(1 / 3, 1.25 * min_held_out(accept or ACCEPT) / max(1, len(known))))
    if test_share is None:
        fewest = min((int((source.labels == number).sum()) for number in numbers), default=0)
        test_share = 0.0 if test_split or fewest < 3 else auto_holdout(len(known))
    groups = None
    divided = held_out is None or test_share > 0
    # The embedded digits have no near-duplicates, because each image is drawn on its own.
    if near_duplicates and divided and 2 < len(known) <= MOST_COMPARED and not isinstance(source, DigitsOnTextures):
        groups = torch.full((len(source),), -1, dtype=torch.int64)
        bar = nullcontext() if image_bar is None else image_bar(len(known), "looking for near-duplicates")
        with bar as advance:
            groups[known] = near_duplicates_of(source, known, cache, workers, advance)
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


def near_duplicates_of(
    source: ImageSource,
    positions: Tensor,
    cache: Path | None,
    workers: int,
    progress: Callable[[int], object] | None = None,
) -> Tensor:
    """Return the groups of near-duplicates, see `find_near_duplicates`, which are kept for the same images.

    Args:
        source: The images.
        positions: (N,) int64, the positions of the images to compare.
        cache: The folder in which the groups are kept between runs; None: nothing is kept.
        workers: The number of threads that read images.
        progress: A function that is called, now and then, with the number of images read so far.
    """
    if cache is None:
        return find_near_duplicates(source, positions, workers=workers, progress=progress)

    keys = content_keys(source, positions.tolist(), workers=workers)
    # An image that cannot be read has a group of its own.
    content = hashlib.sha256(b"|".join(key if isinstance(key, bytes) else b"" for key in keys)).digest()
    kept = FeatureCache(cache)
    found = kept.find(_GROUPS, [content])
    if content in found:
        return torch.from_numpy(found[content]).long()
    groups = find_near_duplicates(source, positions, workers=workers, progress=progress)
    kept.keep(_GROUPS, {content: groups.float().numpy()})  # Float32 holds these numbers exactly.
    return groups


def is_uneven(labels: Tensor) -> bool:
    """Return whether a class has more than twice the images of another; labels (N,) int64, -1 is not counted."""
    counts = torch.bincount(labels[labels >= 0])
    return len(counts) > 0 and float(counts.max()) > UNEVEN * float(counts.min())


def held_out_shares(data: str, fitted: FitData, split: Split, known: Tensor) -> Shares:
    """Return the names of the images that a training held out, so that they can be found again.

    Args:
        data: DATA as it was typed.
        fitted: The data of the training.
        split: The division of the data.
        known: (N,) int64, the known class of each image of the source, -1 for others. If a share is kept for the test,
            images of other classes are kept with it, as unknown.
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
    """Return the figures on the images kept for a test; None if they include no image of a known class."""
    source = open_share(shares, shares.test)
    known = classifier.labels_for(source)
    if not bool((known >= 0).any()):
        return None
    names = [classifier.detector]
    return classifier.evaluate(Subset(source, torch.arange(len(source))), detectors=names, workers=workers)


def load_training_data(data: str) -> tuple[ImageSource, ImageSource | None]:
    """Open the training images of DATA, and its validation images if it has both splits."""
    train, splits = load_source(data, training_split(data)), available_splits(data)
    return train, load_source(data, "val") if {"train", "val"} <= {*splits} else None


def shown_unknowns(outliers: ImageSource, data: str, source: ImageSource, classes: Sequence[str]) -> list[str]:
    """Return the classes that the outliers share with DATA.

    The classes of DATA are those of its training images, and if DATA is a folder, those of all its splits.

    Args:
        outliers: The images of unknown classes.
        data: DATA as it was typed.
        source: The training images of DATA.
        classes: The names of the known classes, which are left out.
    """
    names = set(source.classes)
    if isinstance(source, FolderSource):  # Splits of other data may have to be downloaded first.
        for split in available_splits(data):
            with suppress(DataError):  # A split that cannot be used is an error only for code that needs it.
                names |= set(load_source(data, split).classes)
    return [name for name, count in count_per_class(outliers).items() if count and name in names - set(classes)]


def notes(source: ImageSource) -> list[str]:
    """Return sentences about the entries of a folder that are not images of classes; empty for other data."""
    found: list[str] = source.notes() if isinstance(source, FolderSource) else []
    return found
