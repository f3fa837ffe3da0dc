"""Open the images of a training, and choose the classes and the images to hold out for calibration and test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backmix.data.common_range import common_ranges, ranges_in_words, use_ranges
from backmix.data.content import content_keys
from backmix.data.digits import DigitsOnTextures
from backmix.data.folder import FolderSource, image_key, source_notes
from backmix.data.load import absolute, available_splits, choose_known, load_source, training_split
from backmix.data.names import plain_name, respelt_in_words, split_names
from backmix.data.near_duplicates import find_near_duplicates
from backmix.data.parquet import HubSource
from backmix.data.source import ImageSource, Subset, auto_image_size, count_per_class
from backmix.data.split import Split, auto_holdout
from backmix.data.tool_copies import join_copies
from backmix.data.value_range import Range
from backmix.errors import DataError, some_of
from backmix.fit.data_checks import MOST_COMPARED, open_test, shared_images
from backmix.inference.decider import Decider
from backmix.inference.feature_cache import FeatureCache
from backmix.runs.held_out import Share, Shares, open_share
from backmix.runs.seen import write_seen
from backmix.threshold.conformal import min_held_out
from backmix.threshold.default import ACCEPT

# The number changes when `find_near_duplicates` finds other groups, so that those kept before are not used any more.
_GROUPS = "groups of near-duplicates 3"  # 2 and 3: large JPEGs are decoded to fewer pixels.
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
        ranges: The ranges with which deep pixels are read, see `common_ranges`.
        warnings: Sentences for people about these images.
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
    ranges: dict[str, Range] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def alike(self) -> int:
        """The number of images that have a near-duplicate."""
        if self.groups is None:
            return 0
        known = self.groups[self.groups >= 0]
        sizes = known.unique(return_counts=True)[1]
        return int(sizes[sizes > 1].sum())


def open_data(
    data: str,
    *,
    known_classes: str | Sequence[str] | None = None,
    image_size: int | None = None,
    holdout: float | None = None,
    test_share: float | None = None,
    near_duplicates: bool = True,
    accept: float | None = None,
    min_images: int | None = None,
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
        min_images: The smallest number of images of a known class; None: classes of any size are known.
        cache: The folder in which the near-duplicates of the same images are kept between runs; None: nothing is kept.
        image_bar: A function that shows the number of images read so far; None: nothing is shown.
        workers: The number of threads that decode images.
    """
    source, held_out = load_training_data(data)
    splits = available_splits(data)
    named = split_names(known_classes) if known_classes and isinstance(known_classes, str) else known_classes
    numbers, warnings = _known_numbers(source, choose_known(source.classes, named or None), bool(named), min_images)
    classes = [source.classes[number] for number in numbers]
    known = torch.isin(source.labels, torch.tensor(numbers)).nonzero().flatten()
    ranges = common_ranges(source, known.tolist(), workers=workers)
    use_ranges(source, ranges)
    if held_out is not None:
        use_ranges(held_out, ranges)
    train_split = training_split(data)
    test_split = "test" if "test" in splits and train_split != "test" else None
    test: ImageSource | None = None
    if test_split and not isinstance(source, DigitsOnTextures | HubSource):
        test, reason = open_test(data, classes)
        if reason:
            warnings.append(f"the split test cannot be used, so a share of {train_split} is kept instead: {reason}")
            test_split = None
    others = {name: of for name, of in (("val", held_out), ("test", test)) if of is not None}
    warnings += shared_images(source, known, others, workers=workers)
    if held_out is not None and not isinstance(held_out, FolderSource):
        warnings += [note for note in [respelt_in_words(held_out.classes, classes)] if note]
    if holdout is None:
        # With too few images to calibrate on, every image would be accepted.
        holdout = max(auto_holdout(len(known)), min(1 / 3, 1.25 * min_held_out(accept or ACCEPT) / max(1, len(known))))
    if test_share is None:
        most = max((int((source.labels == number).sum()) for number in numbers), default=0)
        test_share = 0.0 if test_split or most < 3 else auto_holdout(len(known))
    groups = None
    divided = held_out is None or test_share > 0
    # The embedded digits have no near-duplicates, because each image is drawn on its own.
    if near_duplicates and divided and 2 < len(known) <= MOST_COMPARED and not isinstance(source, DigitsOnTextures):
        groups = torch.full((len(source),), -1, dtype=torch.int64)
        bar = nullcontext() if image_bar is None else image_bar(len(known), "looking for near-duplicates")
        with bar as advance:
            groups[known] = near_duplicates_of(source, known, cache, workers, advance)
    if near_duplicates and divided:
        joined, copies = join_copies(source, known, None if groups is None else groups[known])
        if copies and joined is not None:
            groups = torch.full((len(source),), -1, dtype=torch.int64)
            groups[known] = joined
            warnings.append(f"{copies} images are copies by an annotation tool; those of one photo stay together")
    return FitData(
        source,
        held_out,
        classes,
        auto_image_size(source) if image_size is None else image_size,
        train_split,
        "val" if held_out is not None else None,
        test_split,
        holdout,
        test_share,
        groups,
        ranges,
        warnings,
    )


def _known_numbers(
    source: ImageSource, chosen: list[int], named: bool, min_images: int | None
) -> tuple[list[int], list[str]]:
    """Return the known classes that have enough images, and sentences on those that are left out.

    Args:
        source: The training images.
        chosen: The numbers of the known classes.
        named: Whether a person named them. Else classes of a table that have no image are left out.
        min_images: The smallest number of images of a known class; None: classes of any size stay.
    """
    counts = list(count_per_class(source).values())
    least = max(min_images or 0, 0 if named else 1)
    kept = [number for number in chosen if counts[number] >= least]
    warnings = []
    empty = [source.classes[number] for number in chosen if number not in kept and not counts[number]]
    few = [f"{source.classes[k]} ({counts[k]})" for k in chosen if 0 < counts[k] < least]
    if empty:
        warnings.append(f"{len(empty)} classes without an image are left out: {some_of(empty, 3)}")
    if few:
        warnings.append(
            f"{len(few)} classes of fewer than {min_images} images are left out and count as unknown: {some_of(few, 3)}"
        )
    if len(kept) < 2:
        raise DataError(
            f"{len(kept)} classes have {max(least, 1)} images or more; a classifier needs at least two"
            + (f". Too small: {some_of(few)}; give a smaller --min-images" if few else "")
        )
    return kept, warnings


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
    if content in found and len(found[content]) == len(positions):
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
    return Shares(absolute(data), calibration, test, typed=True)


def write_seen_images(
    run: Path, data: FitData, split: Split, known: Callable[[ImageSource], Tensor], workers: int
) -> None:
    """Write the contents of the images that were trained and calibrated on into a run folder, see `write_seen`.

    Args:
        run: The run folder.
        data: The data of the training.
        split: The division of the data.
        known: A function that returns the known class of each image of a source, -1 for others.
        workers: The number of threads that read images.
    """
    if data.held_out is None:
        write_seen(run, data.source, split.train, data.source, split.held, workers=workers)
    else:
        calibrated = (known(data.held_out) >= 0).nonzero().flatten()
        write_seen(run, data.source, split.train, data.held_out, calibrated, workers=workers)


def test_figures(classifier: Decider, shares: Shares, workers: int) -> dict[str, Any] | None:
    """Return the figures on the images kept for a test; None if they include no image of a known class to be read."""
    try:
        source = open_share(shares, shares.test)
        known = classifier.labels_for(source)
        if not bool((known >= 0).any()):
            return None
        names = [classifier.detector]
        return classifier.evaluate(Subset(source, torch.arange(len(source))), detectors=names, workers=workers)
    except DataError:  # The images may have gone during the training, which must not be lost with them.
        return None


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
    shared = {plain_name(name) for name in names} - {plain_name(name) for name in classes}
    return [name for name, count in count_per_class(outliers).items() if count and plain_name(name) in shared]


def notes(data: FitData) -> list[str]:
    """Return sentences for people about the data of a training: what was left out, and what to be careful about."""
    held_out = [] if data.held_out is None else [f"{data.val_split}: {note}" for note in source_notes(data.held_out)]
    return [*source_notes(data.source), *held_out, *ranges_in_words(data.ranges), *data.warnings]


def outlier_notes(outliers: ImageSource | str | None) -> list[str]:
    """Return sentences about the outliers of a training: what was left out, and images that show known classes."""
    if not isinstance(outliers, Subset):
        return []
    found = source_notes(outliers.source)
    kept = set(outliers.labels.tolist())
    known = [name for number, name in enumerate(outliers.source.classes) if number not in kept]
    if left := len(outliers.source) - len(outliers):
        found.append(f"{left} outliers are left out: they are of classes that are known ({some_of(known)})")
    return found
