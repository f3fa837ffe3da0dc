"""What a training is made of, from what a person typed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from backmix.data.folder import FolderSource
from backmix.data.images import ImageError
from backmix.data.load import available_splits, load_source
from backmix.data.source import ImageSource, count_per_class
from backmix.errors import DataError


def load_training_data(data: str) -> tuple[ImageSource, ImageSource | None]:
    """The training images of DATA, and its validation images where it has a split for them."""
    splits = available_splits(data)
    train = load_source(data, "train" if "train" in splits else splits[0] if splits else None)
    held_out = next((name for name in ("val", "valid", "validation") if name in splits), None)
    return train, load_source(data, held_out) if held_out is not None and "train" in splits else None


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


def auto_image_size(source: ImageSource) -> int:
    """Side for these images: the median shorter side of some, in steps of 32, between 32 and 224."""
    sides: list[int] = []
    first: ImageError | None = None
    spread = range(0, len(source), max(1, len(source) // 16))
    for position in (*spread, *range(len(source))):
        if len(sides) == len(spread):
            break
        try:
            sides.append(min(source.read(position).size))
        except ImageError as error:
            first = first or error
    if not sides:
        raise DataError(f"none of the {len(source)} images can be read. The first: {first}")
    median = sorted(sides)[len(sides) // 2]
    return max(32, min(224, 32 * round(median / 32)))


def notes(source: ImageSource) -> list[str]:
    """Sentences about what a folder holds beside images of classes."""
    found: list[str] = source.notes() if isinstance(source, FolderSource) else []
    return found
