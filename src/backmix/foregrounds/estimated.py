"""Estimated masks in place of true masks: a source of images whose `read_mask` returns an estimate."""

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
from backmix.data.photo import DECODING, Photo, side_to_read
from backmix.data.source import ImageSource, check_position, read_photo
from backmix.foregrounds.base import ForegroundSource, enlarge_mask, shrink
from backmix.mixing.checks import check

_CHUNK = 16
_LOCKS = 64


class _Packed(NamedTuple):
    """The bits of a mask, its (h, w), and the (W, H) of its picture."""

    bits: npt.NDArray[np.uint8]
    shape: tuple[int, int]
    size: tuple[int, int]


class EstimatedMasks:
    """An image source with estimated masks. Everything else comes from another image source.

    The mask of each image is estimated once and kept as bits at the working size: at most 2 KiB for an image at 128
    pixels. Call `prepare` before worker processes start, so that they read the prepared masks. A process that misses
    the mask of an image estimates it for itself. Threads share one copy.

    Args:
        source: The images. Masks of the source are not used.
        estimator: The estimator of the foreground.
        size: The longer side in pixels to which pictures are scaled down before the estimate. None: the working size
            of the estimator.
        workers: The number of threads of `prepare`.
        decoding: The version of decoding, see `backmix.data.photo`; that of the training.

    Attributes:
        source: The given source.
        estimator: The given estimator.

    Raises:
        ValueError: If the size is under 16, or if there is no worker.
    """

    def __init__(
        self,
        source: ImageSource,
        estimator: ForegroundSource,
        *,
        size: int | None = None,
        workers: int = 2,
        decoding: int = DECODING,
    ) -> None:
        if size is not None and size < 16:
            raise ValueError(f"size is a side in pixels, at least 16; got {size}")
        check(workers >= 1, f"workers must be at least 1; got {workers}")
        self.source, self.estimator, self.workers = source, estimator, workers
        self.size = estimator.working_size if size is None else size
        self._at_least = side_to_read(self.size, decoding)
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
        """Return the number of images."""
        return len(self.source)

    def read(self, i: int) -> Image.Image:
        """See `ImageSource.read`."""
        return self.source.read(i)

    def read_photo(self, i: int, at_least: int | None) -> Photo:
        """See `backmix.data.source.HasPhotos`."""
        return read_photo(self.source, i, at_least)

    def name(self, i: int) -> str:
        """See `ImageSource.name`."""
        return self.source.name(i)

    def read_mask(self, i: int) -> Image.Image:
        """Return the estimated mask of image i in the size of the picture: "L", 255 on the object and 0 elsewhere.

        Raises:
            ImageError: If the image cannot be decoded.
            IndexError: If i is not in 0..N-1.
        """
        check_position(i, len(self))
        # 64 locks share the positions: no image is estimated twice, and threads seldom wait for each other.
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
        """Estimate the masks of many images now. Masks that exist already are not estimated again.

        Each worker holds one picture in full size and 16 pictures at the working size in memory. An image that cannot
        be decoded is left out; `read_mask` raises its error.

        Args:
            positions: The positions of the images. None: all images.
            on_images: A function that is called from time to time, in this thread, with the number of images done so
                far.

        Raises:
            IndexError: If the source does not have a position.
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
        photo = read_photo(self.source, i, self._at_least)
        return shrink(photo, self.size), photo.size

    def _estimate(self, pictures: dict[int, tuple[Image.Image, tuple[int, int]]]) -> None:
        masks = self.estimator.estimate_batch([small for small, _ in pictures.values()])
        for (i, (_, size)), mask in zip(pictures.items(), masks, strict=True):
            height, width = mask.shape
            self._kept[i] = _Packed(np.packbits(mask), (height, width), size)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the locks, which cannot be sent to another process."""
        return {name: value for name, value in self.__dict__.items() if name != "_locks"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._locks = [threading.Lock() for _ in range(_LOCKS)]


def _chunks(positions: Iterable[int], most: int) -> Iterable[list[int]]:
    for _ in range(most):
        if chunk := list(islice(iter(positions), _CHUNK)):
            yield chunk
