"""The interface of every data set in the package, and a few functions that work with all data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import torch
from PIL import Image
from torch import Tensor

from backmix.data.images import ImageError
from backmix.data.photo import Photo
from backmix.errors import DataError


@runtime_checkable
class ImageSource(Protocol):
    """Labelled images that are read one by one, by position.

    Several threads or worker processes may read at the same time.
    """

    @property
    def classes(self) -> list[str]:
        """The names of all classes in the data; a class may have no image here."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64, the index of each image's class in `classes`; -1 for an image without a class."""

    def __len__(self) -> int:
        """Return the number of images, N."""

    def read(self, i: int) -> Image.Image:
        """Decode image i as RGB.

        Raises:
            ImageError: If it cannot be decoded. The error holds the path and the reason.
            IndexError: If i is not in 0..N-1.
        """

    def read_mask(self, i: int) -> Image.Image | None:
        """Return the mask of image i, "L", 255 on the object; None if there is no mask."""

    def name(self, i: int) -> str:
        """Return the path or another name of image i, for people."""


@runtime_checkable
class HasPhotos(Protocol):
    """An image source that can decode fewer pixels than its files have."""

    def read_photo(self, i: int, at_least: int | None) -> Photo:
        """Decode image i, see `backmix.data.images.open_photo`. Errors are those of `ImageSource.read`."""


def read_photo(source: ImageSource, i: int, at_least: int | None) -> Photo:
    """Decode image i with no more pixels than are wanted, if the source can; otherwise with all.

    A subclass that replaces `read` alone shows other pictures than `read_photo` of its base class, so it is asked for
    whole pictures.

    Args:
        source: The images.
        i: The position of the image in the source.
        at_least: The number of pixels of the shorter side that suffices; None: every pixel is decoded.

    Raises:
        ImageError: If it cannot be decoded.
        IndexError: If there is no such image.
    """
    if isinstance(source, HasPhotos) and tells_what_is_read(source, "read_photo"):
        return source.read_photo(i, at_least)
    return Photo.of(source.read(i))


def tells_what_is_read(source: object, name: str) -> bool:
    """Return whether a method of a source tells of the pictures that its `read` shows.

    It does unless a subclass, or the object itself, replaces `read` alone.

    Args:
        source: The images.
        name: The name of a method that stands for `read`, such as "read_photo" or "content_key".
    """
    for names in (getattr(source, "__dict__", {}), *(vars(kind) for kind in type(source).__mro__)):
        if "read" in names or name in names:
            return name in names
    return False


class Subset:
    """Some images of a source, in the given order, with the classes of the source.

    Args:
        source: The whole source.
        indices: (M,) the positions of the images in the source.

    Raises:
        DataError: If the source does not have a position, or a mask is given instead of positions.
    """

    def __init__(self, source: ImageSource, indices: Tensor | Sequence[int]) -> None:
        given = torch.as_tensor(indices)
        if given.ndim != 1 or (len(given) and (given.dtype == torch.bool or given.is_floating_point())):
            raise DataError(f"indices must be (M,) whole numbers; got {tuple(given.shape)} of {given.dtype}")
        positions = given.to("cpu", torch.int64)
        if len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < len(source):
            raise DataError(
                f"indices go from {int(positions.min())} to {int(positions.max())}, but the source has {len(source)} "
                f"images, numbered from 0"
            )
        self.source = source
        self.indices = positions
        self.classes = list(source.classes)
        self.labels = source.labels[positions]

    def __len__(self) -> int:
        """Return the number of chosen images."""
        return len(self.indices)

    def read(self, i: int) -> Image.Image:
        """See `ImageSource.read`."""
        return self.source.read(self._position(i))

    def read_photo(self, i: int, at_least: int | None) -> Photo:
        """See `HasPhotos.read_photo`."""
        return read_photo(self.source, self._position(i), at_least)

    def read_mask(self, i: int) -> Image.Image | None:
        """See `ImageSource.read_mask`."""
        return self.source.read_mask(self._position(i))

    def name(self, i: int) -> str:
        """See `ImageSource.name`."""
        return self.source.name(self._position(i))

    def _position(self, i: int) -> int:
        return int(self.indices[check_position(i, len(self))])


def check_position(i: int, length: int) -> int:
    """Return i if it is in 0..length-1.

    Raises:
        IndexError: If it is not. Negative positions are refused too: -1 means "no image" here, never "the last image".
    """
    if not 0 <= i < length:
        raise IndexError(f"there is no image {i}; the source has {length}, numbered from 0")
    return i


def checked_labels(source: ImageSource) -> Tensor:
    """Return the labels of a source, (N,) int64.

    A table with as many places as the largest label would fill any memory, and a label below -1 would count from the
    end. So labels are looked at before they are used as positions.

    Raises:
        DataError: If a label is the number of no class. The error names the first such image.
    """
    labels, classes = source.labels, len(source.classes)
    wrong = ((labels < -1) | (labels >= classes)).nonzero().flatten()
    if len(wrong):
        at = int(wrong[0])
        raise DataError(
            f"{source.name(at)} (image {at}) has label {int(labels[at])}, but there are {classes} classes, numbered "
            f"from 0, and -1 for no class ({len(wrong)} images are wrong)"
        )
    return labels


def count_per_class(source: ImageSource) -> dict[str, int]:
    """Return the number of images of each class, in the order of `source.classes`.

    Images without a class are not counted.

    Raises:
        DataError: If a label is the number of no class.
    """
    labels = checked_labels(source)
    counts = torch.bincount(labels[labels >= 0], minlength=len(source.classes)).tolist()
    return dict(zip(source.classes, counts, strict=True))


def find_unreadable(
    source: ImageSource, *, workers: int = 1, progress: Callable[[int], object] | None = None
) -> dict[int, ImageError]:
    """Decode every image once and return the errors of those that cannot be decoded.

    Args:
        source: The images to check.
        workers: The number of threads that decode images (decoding releases Python's global lock).
        progress: A function that is called, now and then, with the number of images checked so far.

    Returns:
        Position -> error (with `.path` and `.reason`), by position; empty if every image can be decoded.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1; got {workers}")
    chunks = [range(start, min(start + 128, len(source))) for start in range(0, len(source), 128)]
    errors: dict[int, ImageError] = {}
    with ThreadPoolExecutor(workers) as pool:
        for chunk, found in zip(chunks, pool.map(lambda chunk: _errors(source, chunk), chunks), strict=True):
            errors.update(found)
            if progress is not None:
                progress(chunk.stop)
    return errors


def _errors(source: ImageSource, positions: range) -> dict[int, ImageError]:
    errors = {}
    for i in positions:
        try:
            source.read(i)
        except ImageError as error:
            errors[i] = error
    return errors


LARGEST_AUTO = 224  # The largest image size in pixels that is chosen for a source.


def auto_image_size(source: ImageSource) -> int:
    """Return an image size for a source: the median shorter side of some images, in steps of 32.

    It is from 32 to `LARGEST_AUTO`.

    Raises:
        DataError: If no image can be read.
    """
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
    return max(32, min(LARGEST_AUTO, 32 * round(median / 32)))
