"""Sources that show the images of other sources under the labels of a trial."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from backmix.data.content import content_key
from backmix.data.photo import Photo
from backmix.data.source import ImageSource, Subset, check_position, read_photo
from backmix.errors import DataError


class Relabelled(Subset):
    """A selection of the images of a source, with labels and classes of its own.

    Args:
        source: The source of the images.
        indices: (M,) the positions of the images in the source.
        labels: (M,) int64, the index of each image's class in `classes`; -1 for an image of another class.
        classes: The names of the classes.

    Raises:
        DataError: See `Subset`; also if the labels do not fit the images or the classes.
    """

    def __init__(
        self, source: ImageSource, indices: Tensor | Sequence[int], labels: Tensor, classes: Sequence[str]
    ) -> None:
        super().__init__(source, indices)
        labels = labels.to("cpu", torch.int64)
        if labels.shape != self.indices.shape:
            raise DataError(f"labels must be ({len(self.indices)},), one for each image; got {tuple(labels.shape)}")
        if len(labels) and not -1 <= int(labels.min()) <= int(labels.max()) < len(classes):
            raise DataError(
                f"labels go from {int(labels.min())} to {int(labels.max())}, but there are {len(classes)} classes, "
                f"numbered from 0, and -1"
            )
        self.labels = labels
        self.classes = list(classes)


class Joined:
    """All images of several sources, one after the other.

    Args:
        sources: At least one source. All sources have the same classes in the same order.

    Attributes:
        classes: The classes that all sources share.
        labels: (N,) int64, the labels of the sources, one source after the other.

    Raises:
        DataError: If there is no source, or if the sources have different classes.
    """

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        if not sources:
            raise DataError("there is nothing to join; give at least one source")
        if any(list(source.classes) != list(sources[0].classes) for source in sources):
            raise DataError("sources that are joined must have the same classes in the same order")
        self.sources = list(sources)
        self.classes = list(sources[0].classes)
        self.labels = torch.cat([source.labels for source in sources])
        self._ends = list(itertools.accumulate(len(source) for source in sources))

    def __len__(self) -> int:
        """Return the number of images of all sources together."""
        return self._ends[-1]

    def read(self, i: int) -> Image.Image:
        """See `ImageSource.read`."""
        source, position = self._find(i)
        return source.read(position)

    def read_photo(self, i: int, at_least: int | None) -> Photo:
        """See `backmix.data.source.HasPhotos`."""
        source, position = self._find(i)
        return read_photo(source, position, at_least)

    def read_mask(self, i: int) -> Image.Image | None:
        """See `ImageSource.read_mask`."""
        source, position = self._find(i)
        return source.read_mask(position)

    def name(self, i: int) -> str:
        """See `ImageSource.name`."""
        source, position = self._find(i)
        return source.name(position)

    def content_key(self, i: int) -> bytes:
        """See `backmix.data.content.content_key`."""
        source, position = self._find(i)
        return content_key(source, position)

    def _find(self, i: int) -> tuple[ImageSource, int]:
        number = bisect.bisect_right(self._ends, check_position(i, len(self)))
        return self.sources[number], i - (self._ends[number - 1] if number else 0)
