"""The pooled features of a frozen backbone for the images of a source, computed once and then found in a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import PIL
import torch
from PIL import features as pillow_features
from torch import Tensor, nn

from backmix.data.content import content_keys
from backmix.data.images import ImageError
from backmix.data.preprocess import Preprocess
from backmix.data.source import ImageSource, read_photo
from backmix.errors import DataError
from backmix.inference.engine import AT_A_TIME, Engine, choose_engine, network_key
from backmix.inference.feature_cache import FeatureCache

KEPT_AT_ONCE = 256  # Images are kept in groups of this size, so that an interrupted pass goes on where it stopped.
_Group = tuple[list[int], Tensor, dict[int, tuple[str, str]]]
"""The rows that could be read, their images or features, and the (name, reason) of the other rows."""

_AHEAD = 4  # The number of groups per thread that wait to be computed.


@dataclass(frozen=True)
class PooledFeatures:
    """The pooled features of N images of a source.

    Attributes:
        features: (N, C) float32, the pooled features.
        positions: (N,) int64, the position of each image in the source.
        skipped: The (name, reason) of each unreadable image.
        computed: The number of images that the network ran on; the others were in the cache.
    """

    features: Tensor
    positions: Tensor
    skipped: list[tuple[str, str]]
    computed: int


class FrozenFeatures:
    """The pooled features of one backbone with weights that do not change.

    Args:
        backbone: The backbone, in evaluation mode.
        preprocess: The preprocessing that decodes and normalises images.
        precision: "bf16" or "fp32".
        folder: The folder of the cache. None: features are kept in memory alone, and PyTorch computes them.
        build: Whether to write the network for a faster engine if the folder does not hold it, see `choose_engine`.

    Attributes:
        build: Whether the network was written for a faster engine, if there is one.
        engine: The engine that computes.
        cache: The cache.
        space: The name under which the cache keeps the features of this backbone.
        seconds_of_pass: The seconds that a pass over the images of a training is expected to take; None: not measured.
    """

    def __init__(
        self,
        backbone: nn.Module,
        preprocess: Preprocess,
        *,
        precision: str = "fp32",
        folder: Path | None = None,
        build: bool = True,
    ) -> None:
        self.backbone, self.preprocess, self.precision, self.build = backbone, preprocess, precision, build
        self.cache = FeatureCache(folder)
        self.seconds_of_pass: float | None = None
        key = network_key(backbone, preprocess)
        usable = folder / "engines" if folder is not None and self.cache.note is None else None
        self.engine: Engine = choose_engine(
            backbone, preprocess, precision=precision, folder=usable, build=build, key=key
        )
        # Another version of Pillow, of its JPEG library or of tifffile may decode to other pixels.
        decoder = f"pillow {PIL.__version__} {pillow_features.version('jpg')} {pillow_features.version('zlib')}"
        decoder += f" tifffile {version('tifffile')}"
        self.space = hashlib.sha256(f"{key} {self.engine.name} {decoder}".encode()).hexdigest()

    def of(
        self,
        source: ImageSource,
        positions: Sequence[int] | None = None,
        *,
        workers: int = 2,
        on_images: Callable[[int], object] | None = None,
    ) -> PooledFeatures:
        """Return the pooled features of the images of a source. Unreadable images are left out and listed.

        Only images whose features are not in the cache are decoded and computed.

        Args:
            source: The images.
            positions: The positions of the images in the source; None: all images.
            workers: The number of threads that decode images.
            on_images: A function that is called, now and then, with the number of images done so far.

        Raises:
            DataError: If no image can be read.
        """
        wanted = list(range(len(source))) if positions is None else [int(p) for p in positions]
        skipped: dict[int, tuple[str, str]] = {}
        keys = self._keys(source, wanted, workers, skipped)
        kept = self.cache.find(self.space, list(keys.values()))
        found = {row: torch.from_numpy(kept[key]) for row, key in keys.items() if key in kept}
        missing = [row for row in range(len(wanted)) if row not in found and row not in skipped]
        done = len(wanted) - len(missing)
        if on_images is not None:
            on_images(done)
        waiting: dict[bytes, Tensor] = {}
        for rows, features, errors in self._computed(source, wanted, missing, workers):
            skipped |= errors
            found |= dict(zip(rows, features, strict=True))
            done += len(rows) + len(errors)
            waiting |= {keys[row]: found[row] for row in rows}
            if len(waiting) >= KEPT_AT_ONCE:
                self._keep(waiting)
            if on_images is not None:
                on_images(done)
        self._keep(waiting)
        if not found:
            first = f" The first: {next(iter(skipped.values()))}." if skipped else ""
            raise DataError(f"no image could be read; {len(wanted)} were tried.{first}")
        rows = sorted(found)
        return PooledFeatures(
            torch.stack([found[row] for row in rows]),
            torch.tensor([wanted[row] for row in rows], dtype=torch.int64),
            [skipped[row] for row in sorted(skipped)],
            sum(row in found for row in missing),
        )

    def of_images(self, images: Tensor) -> Tensor:
        """Return the pooled features (B, C) float32 of decoded images (B, 3, S, S) uint8."""
        return self.engine.pooled(images.cpu() if self.engine.parallel > 1 else images)

    def maps_of_images(self, images: Tensor) -> Tensor:
        """Return the feature maps (B, C, h, w) float32 of decoded images (B, 3, S, S) uint8."""
        return self.engine.maps(images.cpu() if self.engine.parallel > 1 else images)

    def _keep(self, waiting: dict[bytes, Tensor]) -> None:
        if waiting:
            self.cache.keep(self.space, {key: value.numpy() for key, value in waiting.items()})
            waiting.clear()

    def _keys(
        self, source: ImageSource, wanted: list[int], workers: int, skipped: dict[int, tuple[str, str]]
    ) -> dict[int, bytes]:
        """Return the content key of each row, and list the rows that cannot be read."""
        keys: dict[int, bytes] = {}
        for row, found in enumerate(content_keys(source, wanted, workers=workers)):
            if isinstance(found, ImageError):
                skipped[row] = (source.name(wanted[row]), found.reason)
            else:
                keys[row] = found
        return keys

    def _computed(self, source: ImageSource, wanted: list[int], missing: list[int], workers: int) -> Iterator[_Group]:
        """Yield, group by group, the rows that could be read, their features, and the errors of the others."""
        size = self.preprocess.image_size
        together = self.engine.parallel == 1  # The engine uses all cores itself, so threads only decode.
        group = 32 if together else AT_A_TIME

        def read(rows: list[int]) -> _Group:
            images = torch.empty(len(rows), 3, size, size, dtype=torch.uint8)
            good: list[int] = []
            errors: dict[int, tuple[str, str]] = {}
            for row in rows:
                try:
                    images[len(good)] = self.preprocess.decode(
                        read_photo(source, wanted[row], self.preprocess.at_least)
                    )
                    good.append(row)
                except ImageError as error:
                    errors[row] = (source.name(wanted[row]), error.reason)
            return good, images[: len(good)], errors

        def work(rows: list[int]) -> _Group:
            good, images, errors = read(rows)
            return good, images if together else self._pooled(images), errors

        groups = [missing[start : start + group] for start in range(0, len(missing), group)]
        threads = max(1, workers) if together else self.engine.parallel
        with ThreadPoolExecutor(threads) as pool:
            # Only a few groups are in memory at a time.
            pending: list[Future[_Group]] = []
            for number in range(len(groups) + threads * _AHEAD):
                if number < len(groups):
                    pending.append(pool.submit(work, groups[number]))
                if pending and (len(pending) > threads * _AHEAD or number >= len(groups)):
                    good, values, errors = pending.pop(0).result()
                    yield good, self._pooled(values) if together else values, errors

    def _pooled(self, images: Tensor) -> Tensor:
        if len(images) == 0:
            return torch.empty(0, 0)
        return self.engine.pooled(images)
