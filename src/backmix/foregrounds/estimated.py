"""Estimated masks where true ones are read: a source of images that answers `read_mask` with an estimate."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from backmix.data.images import ImageError
from backmix.data.source import ImageSource, check_position
from backmix.foregrounds.base import ForegroundSource, enlarge_mask, shrink
from backmix.mixing.checks import check

_CHUNK = 16
_LOCKS = 64


class _Packed(NamedTuple):
    """A mask in bits, its (h, w), and the (W, H) of its picture."""

    bits: npt.NDArray[np.uint8]
    shape: tuple[int, int]
    size: tuple[int, int]


class EstimatedMasks:
    """An image source with estimated masks; all else is passed through.

    Every image is estimated once and kept as bits of the working size: at most 2 KiB for an image at 128 pixels. Call
    `prepare` before worker processes are started: they then read what is there. A process that finds an image missing
    estimates it for itself. Threads share one copy.

    Args:
        source: the images. Masks it may have are not looked at.
        estimator: where the object is.
        size: longer side in pixels to which pictures are brought before they are estimated; None: that of the
            estimator.
        workers: threads of `prepare`.

    Attributes:
        source: as given.
        estimator: as given.

    Raises:
        ValueError: for a size under 16 or no worker.
    """

    def __init__(
        self, source: ImageSource, estimator: ForegroundSource, *, size: int | None = None, workers: int = 2
    ) -> None:
        if size is not None and size < 16:
            raise ValueError(f"size is a side in pixels, at least 16; got {size}")
        check(workers >= 1, f"workers must be at least 1; got {workers}")
        self.source, self.estimator, self.workers = source, estimator, workers
        self.size = estimator.working_size if size is None else size
        self._kept: dict[int, _Packed] = {}
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    @property
    def classes(self) -> list[str]:
        """See `ImageSource.classes`."""
        return self.source.classes

    @property
    def labels(self) -> Tensor:
        """See `ImageSource.labels`."""
        return self.source.labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source)

    def read(self, i: int) -> Image.Image:
        """See `ImageSource.read`."""
        return self.source.read(i)

    def name(self, i: int) -> str:
        """See `ImageSource.name`."""
        return self.source.name(i)

    def read_mask(self, i: int) -> Image.Image:
        """Estimated mask of image i, "L", 255 on the object and 0 elsewhere, of the size of the picture.

        Raises:
            ImageError: when the image cannot be decoded.
            IndexError: when i is not in 0..N-1.
        """
        check_position(i, len(self))
        # A lock for one in 64 positions: nobody estimates an image twice, and few wait for each other.
        with self._locks[i % _LOCKS]:
            if i not in self._kept:
                self._estimate({i: self._small(i)})
            packed = self._kept[i]
        height, width = packed.shape
        mask = np.unpackbits(packed.bits, count=height * width).reshape(height, width).astype(bool)
        return Image.fromarray(enlarge_mask(mask, packed.size).astype(np.uint8) * 255)

    def prepare(
        self, positions: Iterable[int] | None = None, *, on_images: Callable[[int], object] | None = None
    ) -> None:
        """Estimate many images now; those estimated before are not done again.

        Of the pictures, one a worker is in memory whole, and 16 a worker at the size they are estimated at. An image
        that cannot be decoded is left out: reading it says why.

        Args:
            positions: which images; None: all.
            on_images: called with the number of images dealt with so far, now and then, in this thread.

        Raises:
            IndexError: for a position that the source does not have.
        """
        wanted = range(len(self)) if positions is None else [int(i) for i in positions]
        for i in wanted:
            check_position(i, len(self))
        todo = iter(dict.fromkeys(wanted))
        done = 0
        with ThreadPoolExecutor(self.workers) as pool:
            while chunks := list(_chunks(todo, 2 * self.workers)):
                for chunk, _ in zip(chunks, pool.map(self._prepare, chunks), strict=True):
                    done += len(chunk)
                    if on_images is not None:
                        on_images(done)

    def _prepare(self, positions: list[int]) -> None:
        pictures = {}
        for i in positions:
            if i not in self._kept:
                with suppress(ImageError):
                    pictures[i] = self._small(i)
        self._estimate(pictures)

    def _small(self, i: int) -> tuple[Image.Image, tuple[int, int]]:
        picture = self.source.read(i)
        return shrink(picture, self.size), picture.size

    def _estimate(self, pictures: dict[int, tuple[Image.Image, tuple[int, int]]]) -> None:
        masks = self.estimator.estimate_batch([small for small, _ in pictures.values()])
        for (i, (_, size)), mask in zip(pictures.items(), masks, strict=True):
            height, width = mask.shape
            self._kept[i] = _Packed(np.packbits(mask), (height, width), size)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the locks, which do not travel to another process."""
        return {name: value for name, value in self.__dict__.items() if name != "_locks"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._locks = [threading.Lock() for _ in range(_LOCKS)]


def _chunks(positions: Iterable[int], most: int) -> Iterable[list[int]]:
    for _ in range(most):
        if chunk := list(islice(iter(positions), _CHUNK)):
            yield chunk
