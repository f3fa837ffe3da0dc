"""Batches for training: small data sets stay decoded on the device, and worker processes decode large ones."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from backmix.data.images import ImageError
from backmix.data.preprocess import Preprocess
from backmix.data.seeds import seed_of
from backmix.data.source import ImageSource, read_photo
from backmix.mixing.view import View


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        images: (B, 3, H, W) uint8, the images.
        labels: (B,) int64, the known class of each image.
        index: (B,) int64, the position of each image in the training set, the same in every epoch.
        masks: (B, H, W) bool, the true foreground, if the data has masks.
        view: The part of the whole images that `images` show; None if they show all of it.
    """

    images: Tensor
    labels: Tensor
    index: Tensor
    masks: Tensor | None = None
    view: View | None = None


class Loader(Protocol):
    """The interface of the data of the training loop."""

    num_images: int

    def __len__(self) -> int:
        """Return the number of batches per epoch."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """Return the batches of one epoch, the same for the same number."""


@dataclass(frozen=True)
class Decoded:
    """A data set that is decoded to one size.

    Attributes:
        images: (N, 3, S, S) uint8, the images.
        labels: (N,) int64, the label of each image.
        masks: (N, S, S) bool, the true foreground, or None if masks were not read.
        positions: (N,) int64, the position of each image in the source.
        skipped: The (name, reason) of each image that could not be read.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None
    positions: Tensor
    skipped: list[tuple[str, str]]


def decode(
    source: ImageSource,
    labels: Tensor,
    preprocess: Preprocess,
    *,
    positions: Sequence[int] | None = None,
    masks: bool = False,
    workers: int = 2,
) -> Decoded:
    """Decode images into memory. Unreadable images are left out and listed.

    Args:
        source: The images to decode.
        labels: (len(source),) int64, the label of each image of the source.
        preprocess: The preprocessing that brings an image to the size of the network.
        positions: The positions of the images in the source; None: all images.
        masks: Whether to read the true masks too.
        workers: The number of threads that decode images.

    Returns:
        The decoded images in the order of `positions`.
    """
    wanted = list(range(len(source))) if positions is None else [int(p) for p in positions]
    size = preprocess.image_size
    images = torch.empty(len(wanted), 3, size, size, dtype=torch.uint8)
    found = torch.zeros(len(wanted), size, size, dtype=torch.bool) if masks else None
    skipped: dict[int, tuple[str, str]] = {}

    def read(row: int) -> None:
        position = wanted[row]
        try:
            images[row] = preprocess.decode(read_photo(source, position, preprocess.at_least))
            if found is not None:
                mask = source.read_mask(position)
                if mask is None:
                    raise ImageError(source.name(position), "has no mask, though true masks were asked for")
                found[row] = preprocess.decode_mask(mask)
        except ImageError as error:
            skipped[row] = (source.name(position), error.reason)

    def read_rows(rows: range) -> None:
        for row in rows:
            read(row)

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        # Threads take chunks of images, because a future for each of a million images takes more memory than labels.
        list(pool.map(read_rows, _chunks(len(wanted), 64)))
    good = torch.tensor([row for row in range(len(wanted)) if row not in skipped], dtype=torch.int64)
    at = torch.tensor(wanted, dtype=torch.int64)
    if skipped:
        images, found = images[good], None if found is None else found[good]
        at = at[good]
    return Decoded(images, labels[at], found, at, [skipped[row] for row in sorted(skipped)])


def _chunks(total: int, size: int) -> list[range]:
    return [range(start, min(start + size, total)) for start in range(0, total, size)]


def division_of(positions: Tensor, labels: Tensor) -> str:
    """Return a short name of which images are trained on as what: equal for equal positions and labels.

    Args:
        positions: (N,) int64, the position of each image in its source.
        labels: (N,) int64, the class of each image.
    """
    return hashlib.sha256(positions.cpu().numpy().tobytes() + labels.cpu().numpy().tobytes()).hexdigest()[:16]


class ResidentLoader:
    """Batches of a decoded data set that is kept whole on the device.

    Args:
        decoded: The decoded images.
        batch_size: The number of images per batch and process. The last, smaller batch of an epoch is left out if
            there is another batch.
        device: The device on which batches are made.
        seed: The seed of the order of every epoch.
        rank: The number of this process, which decides which share of each epoch it sees.
        world: The number of processes.
    """

    def __init__(
        self,
        decoded: Decoded,
        *,
        batch_size: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.images = decoded.images.to(device)
        self.labels = decoded.labels.to(device)
        self.masks = None if decoded.masks is None else decoded.masks.to(device)
        self.num_images = len(self.images)
        self.division = division_of(decoded.positions, decoded.labels)
        self.seed, self.rank, self.world = seed, rank, world
        self.batch_size = min(batch_size, max(1, self.num_images // world))

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return self.num_images // (self.batch_size * self.world)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch, in an order that depends only on the seed and the number."""
        for index in _order(self.num_images, self.batch_size, self.seed, number, self.rank, self.world):
            index = index.to(self.images.device, non_blocking=True)
            masks = None if self.masks is None else self.masks[index]
            yield Batch(self.images[index], self.labels[index], index, masks)

    def whole(self) -> Iterator[Batch]:
        """Yield every image of this process's part once, in order, without masks."""
        for index in _in_order(self.num_images, self.batch_size, self.rank, self.world):
            index = index.to(self.images.device)
            yield Batch(self.images[index], self.labels[index], index)


class WorkerLoader:
    """Batches that worker processes decode, with a random resized crop and flip of torchvision for each image.

    The crop of an image depends only on the seed, the epoch and the image, not on the number of workers.

    Args:
        source: The images to decode.
        labels: (len(source),) int64, the label of each image of the source.
        preprocess: The preprocessing, which holds the image size.
        positions: The positions of the images in the source. An image whose position occurs twice is shown twice per
            epoch, with different crops.
        batch_size: The number of images per batch and process.
        device: The device to which batches are moved.
        seed: The seed of the order and of the crops.
        masks: Whether to read the true masks too.
        workers: The number of processes that decode images; 0: this process decodes them.
        scale: The smallest and the largest share of the area of an image that a crop shows.
        flip: The probability of mirroring an image.
        rank: The number of this process, which decides which share of each epoch it sees.
        world: The number of processes.
    """

    def __init__(
        self,
        source: ImageSource,
        labels: Tensor,
        preprocess: Preprocess,
        *,
        positions: Sequence[int],
        batch_size: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
        masks: bool = False,
        workers: int = 2,
        scale: tuple[float, float] = (0.35, 1.0),
        flip: float = 0.5,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.dataset = _Crops(source, labels, preprocess, list(map(int, positions)), seed, masks, scale, flip)
        self.num_images = len(self.dataset)
        at = torch.tensor(self.dataset.positions, dtype=torch.int64)
        self.division = division_of(at, labels[at])
        self.device = torch.device(device)
        self.seed, self.workers, self.rank, self.world = seed, workers, rank, world
        self.batch_size = min(batch_size, max(1, self.num_images // world))

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return self.num_images // (self.batch_size * self.world)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Return the batches of one epoch, the same for the same seed and number."""
        return self._decode(number, _order(self.num_images, self.batch_size, self.seed, number, self.rank, self.world))

    def whole(self) -> Iterator[Batch]:
        """Yield every image of this process's part once, in order: the whole picture, neither cropped nor flipped."""
        return self._decode(None, _in_order(self.num_images, self.batch_size, self.rank, self.world))

    def _decode(self, number: int | None, order: Sequence[Tensor]) -> Iterator[Batch]:
        # Each index comes with the epoch, because the copy of the data set in a worker never changes.
        batches = [[(number, int(i)) for i in index] for index in order]
        loader = DataLoader(
            self.dataset,
            batch_sampler=batches,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            collate_fn=_collate,
        )
        for batch in loader:
            if isinstance(batch, ImageError):
                raise batch
            images, labels, index, boxes, flip, masks = batch
            yield Batch(
                images.to(self.device, non_blocking=True),
                labels.to(self.device, non_blocking=True),
                index.to(self.device, non_blocking=True),
                masks.to(self.device, non_blocking=True) if self.dataset.masks else None,
                View(boxes, flip).to(self.device),
            )


class _Crops(Dataset[tuple[Tensor, ...] | ImageError]):
    def __init__(
        self,
        source: ImageSource,
        labels: Tensor,
        preprocess: Preprocess,
        positions: list[int],
        seed: int,
        masks: bool,
        scale: tuple[float, float],
        flip: float,
    ) -> None:
        self.source, self.labels, self.preprocess, self.positions = source, labels, preprocess, positions
        self.seed, self.masks, self.scale, self.flip = seed, masks, scale, flip
        seen: Counter[int] = Counter()
        # Item -> how many earlier items show the same image. This number gives each of them another crop.
        self.copies: dict[int, int] = {}
        for item, position in enumerate(positions):
            if seen[position]:
                self.copies[item] = seen[position]
            seen[position] += 1

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, key: tuple[int | None, int]) -> tuple[Tensor, ...] | ImageError:
        try:
            return self.crop(*key)
        except ImageError as error:
            return error  # The main process raises it, because DataLoader turns errors into the text of a RuntimeError.

    def crop(self, number: int | None, item: int) -> tuple[Tensor, ...]:
        """Return the crop of an image in an epoch; with no epoch, the whole picture."""
        from torchvision.transforms import v2

        position = self.positions[item]
        again = [self.copies[item]] if item in self.copies else []
        size = self.preprocess.image_size
        at_least = self.preprocess.at_least
        if at_least is not None and number is not None:
            # The smallest crop still has as many pixels as its result: its sides are at worst as 3 to 4.
            at_least = max(at_least, math.ceil(size / math.sqrt(0.75 * self.scale[0])))
        image = read_photo(self.source, position, at_least)
        crop = v2.RandomResizedCrop(size, scale=self.scale)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.seed, "crop", number, position, *again))
            box = crop.make_params([torch.empty(1, image.height, image.width, device="meta")])
            flip = bool(torch.rand(()) < self.flip)
        top, left, height, width = box["top"], box["left"], box["height"], box["width"]
        if number is None:
            top, left, height, width, flip = 0, 0, image.height, image.width, False

        part = (left, top, left + width, top + height)

        def mirrored(picture: Image.Image) -> Image.Image:
            return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else picture

        pixels = torch.from_numpy(np.array(mirrored(image.resized((size, size), part)))).permute(2, 0, 1)
        mask = torch.zeros(0, dtype=torch.bool)
        if self.masks:
            whole = self.source.read_mask(position)
            if whole is None:
                raise ImageError(self.source.name(position), "has no mask, though true masks were asked for")
            shown = mirrored(whole.resize((size, size), Image.Resampling.NEAREST, part))
            mask = torch.from_numpy(np.array(shown) > 128)
        across, down = image.width, image.height
        edges = torch.tensor([top / down, left / across, (top + height) / down, (left + width) / across])
        return pixels, self.labels[position], torch.tensor(item), edges, torch.tensor(flip), mask


def _collate(items: list[tuple[Tensor, ...] | ImageError]) -> list[Tensor] | ImageError:
    return next((item for item in items if isinstance(item, ImageError)), None) or default_collate(items)


def _order(total: int, batch_size: int, seed: int, number: int, rank: int, world: int) -> list[Tensor]:
    """Return the batches of indices of one process.

    Every process draws the same order and takes its own part of each batch.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, "order", number))
    order = torch.randperm(total, generator=generator)
    step = batch_size * world
    batches = math.floor(total / step)
    return [order[b * step + rank * batch_size : b * step + (rank + 1) * batch_size] for b in range(batches)]


def _in_order(total: int, batch_size: int, rank: int, world: int) -> list[Tensor]:
    """Return batches that hold every index of one process once; the last batch may be smaller."""
    own = torch.arange(total)[rank::world]
    return list(own.split(batch_size)) if len(own) else []
