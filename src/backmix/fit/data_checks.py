"""Look at the splits of the data before a training: can the test be used, and do the splits share images?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from backmix.data.content import content_keys
from backmix.data.digits import DigitsOnTextures
from backmix.data.images import ImageError
from backmix.data.load import load_source
from backmix.data.names import match_names
from backmix.data.parquet import HubSource
from backmix.data.source import ImageSource, count_per_class
from backmix.data.split import Split
from backmix.data.tool_copies import originals
from backmix.errors import DataError, some_of

MOST_COMPARED = 200_000  # Images of more are not compared.


def open_test(data: str, classes: Sequence[str]) -> tuple[ImageSource | None, str | None]:
    """Open the test images of the data, and look whether a test can be made with them.

    Args:
        data: DATA as it was typed.
        classes: The names of the known classes.

    Returns:
        The images; None if they cannot be used, or are fetched later. And the reason why they cannot be used, in words;
        None if they can.
    """
    try:
        source = load_source(data, "test")
    except DataError as error:
        return None, str(error)
    matched = match_names(source.classes, classes)
    known = torch.tensor([name in matched for name in source.classes] + [False])[source.labels].nonzero().flatten()
    if not len(known):
        present = [name for name, count in count_per_class(source).items() if count]
        return None, f"it has none of the known classes: {some_of(present)} instead of {some_of(classes)}"
    first: ImageError | None = None
    for position in known.tolist():
        try:
            source.read(position)
        except ImageError as error:
            first = first or error
        else:
            return source, None
    return None, f"no image of a known class in it can be read; the first: {first}"


def shared_images(train: ImageSource, known: Tensor, others: dict[str, ImageSource], *, workers: int = 2) -> list[str]:
    """Return sentences on the images of other splits that are training images too, by content or by name.

    Args:
        train: The training images.
        known: (N,) int64, the positions of the training images of known classes.
        others: The other splits, by name. Each is also compared with those before it.
        workers: The number of threads that read images.
    """
    drawn_or_remote = DigitsOnTextures | HubSource
    others = {name: of for name, of in others.items() if not isinstance(of, drawn_or_remote)}
    if not others or isinstance(train, drawn_or_remote) or sum(map(len, others.values())) + len(train) > MOST_COMPARED:
        return []
    found = []
    earlier = [("the training images", *_contents(train, known.tolist(), workers))]
    for split, source in others.items():
        contents, photos = _contents(source, list(range(len(source))), workers)
        for where, there, their_photos in earlier:
            copies = [(name, there[key]) for key, names in contents.items() if key in there for name in names]
            if copies:
                one, other = copies[0][0], copies[0][1][0]
                found.append(
                    f"{len(copies)} of {len(source)} images of {split} are copies of images of {where} ({one} of "
                    f"{other}): what {split} says does not hold for new images"
                )
            made = sum(count for photo, count in photos.items() if photo in their_photos)
            if made:
                found.append(
                    f"{made} of {len(source)} images of {split} were made by an annotation tool from photos that "
                    f"{where} were made from too, by their names: what {split} says does not hold for new photos"
                )
        earlier.append((f"the split {split}", contents, photos))
    return found


def untested_classes(labels: Tensor, classes: Sequence[str], split: Split, groups: Tensor | None) -> list[str]:
    """Return sentences on the known classes of which no image is left to calibrate on, or to test on.

    Args:
        labels: (N,) int64, the known class of each image, -1 for others.
        classes: The names of the known classes.
        split: The division of the images.
        groups: (N,) int64, the group of near-duplicates of each image; None if these were not searched for.
    """
    found = []
    purposes = (
        ("calibrate", split.held, "the threshold knows nothing of it"),
        ("test", split.test, "the test says nothing of it"),
    )
    for purpose, positions, so in purposes:
        if not len(positions):
            continue
        counts = torch.bincount(labels[positions], minlength=len(classes)).tolist()
        lacking = [number for number, count in enumerate(counts) if not count]
        bursts: list[str] = []
        few: list[str] = []
        for number in lacking:
            own = labels == number
            images = int(own.sum())
            alike = groups is not None and len(groups[own].unique()) < min(images, 2 if purpose == "calibrate" else 3)
            (bursts if alike else few).append(f"{classes[number]} ({images})")
        if bursts:
            found.append(f"no image is left to {purpose} on, because all are alike, in {some_of(bursts, 5)}: {so}")
        if few:
            found.append(f"too few images to {purpose} on in {some_of(few, 5)}: {so}; --min-images leaves such out")
    return found


def _contents(
    source: ImageSource, positions: list[int], workers: int
) -> tuple[dict[bytes, list[str]], dict[tuple[str, str], int]]:
    """Return the names of the images of each content, and the number of images of each photo of an annotation tool."""
    contents: dict[bytes, list[str]] = {}
    for i, key in zip(positions, content_keys(source, positions, workers=workers), strict=True):
        if isinstance(key, bytes):
            contents.setdefault(key, []).append(source.name(i))
    photos: dict[tuple[str, str], int] = {}
    for photo in originals(source, positions):
        if photo is not None:
            photos[photo] = photos.get(photo, 0) + 1
    return contents, photos
