"""Keep every picture as the model sees it in a file: its pixels, its mask, and the picture without its object.

An audit needs an image several times, as target and as donor. To decode it each time would be slow, and a large set
does not fit in memory. The pictures are therefore decoded once and kept in one file of records of equal size, which is
deleted at the end of the audit. A record has 6 S^2 bytes for the image and an eighth of S^2 for the mask.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backmix.audit.filling import without_object
from backmix.audit.frame import Frame
from backmix.audit.items import Items
from backmix.audit.masks import Fault, Masks, judge
from backmix.data.images import ImageError
from backmix.data.source import read_photo
from backmix.errors import DataError
from backmix.files import could_not_write, write_all, write_json

FILE = "pictures.bin"
STATES = "pictures.json"
CHUNK = 32


@dataclass(frozen=True)
class States:
    """The state of each image after reading.

    Attributes:
        faults: By item, the reason why it cannot be separated into object and background. Scenes have no mask faults.
        reasons: By item, the reason why the image could not be read.
        shares: (N,) float64, the share of the visible square that the mask covers, 0 without a mask.
    """

    faults: dict[int, Fault]
    reasons: dict[int, str]
    shares: Tensor

    def readable(self) -> Tensor:
        """Return whether each image could be read, (N,) bool."""
        return self._without([Fault.unreadable])

    def usable(self) -> Tensor:
        """Return whether each image could be read and has a usable mask, (N,) bool."""
        return self._without(list(Fault)) & (self.shares > 0)

    def _without(self, kinds: list[Fault]) -> Tensor:
        good = torch.ones(len(self.shares), dtype=torch.bool)
        good[[item for item, fault in self.faults.items() if fault in kinds]] = False
        return good


class Pictures:
    """The file of pictures in a folder. Call `prepare` before you read from it. Close it, or use it in a `with`.

    Args:
        folder: The folder of the file.
        frame: The part of each picture that is kept.
        count: The number of pictures.

    Raises:
        TrainingError: If the file cannot be made.
    """

    def __init__(self, folder: Path, frame: Frame, count: int) -> None:
        self.folder, self.frame, self.count = folder, frame, count
        side = frame.image_size
        self._shape = (3, side, side)
        self._image, self._mask = 3 * side * side, -(-side * side // 8)
        self._record = 2 * self._image + self._mask
        with self._told():
            (folder / FILE).touch()
            self._file = open(folder / FILE, "r+b", buffering=0)  # noqa: SIM115  (Open as long as this object.)

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. It is not deleted."""
        self._file.close()

    def prepare(
        self, items: Items, fingerprint: str, *, workers: int = 2, on_images: Callable[[int], object] | None = None
    ) -> States:
        """Decode all images, find their objects and remove them. If an earlier call finished, nothing is done again.

        Args:
            items: The images.
            fingerprint: A digest of all settings that decide the result.
            workers: The number of threads that decode images.
            on_images: A function that is called with the number of images done so far.

        Raises:
            DataError: If the disk has no room for the file.
            TrainingError: If the file cannot be written.
        """
        known = _read_states(self.folder / STATES, fingerprint, self.count)
        size = self._record * self.count
        if known is not None and os.fstat(self._file.fileno()).st_size == size:
            return known
        (self.folder / STATES).unlink(missing_ok=True)
        self._file.truncate(0)
        free = shutil.disk_usage(self.folder).free
        if free < size:
            raise DataError(
                f"{self.folder} has room for {free / 2**30:.1f} GiB, but {self.count} pictures of "
                f"{self.frame.image_size} pixels take {size / 2**30:.1f} GiB while they are audited: choose another "
                f"folder, or audit fewer"
            )
        with self._told():
            self._file.truncate(size)
        faults: dict[int, Fault] = {}
        reasons: dict[int, str] = {}
        shares = torch.zeros(self.count, dtype=torch.float64)
        with ThreadPoolExecutor(max(1, workers)) as pool:
            for chunk in _chunks(self.count):
                self._prepare(items, chunk, pool, workers, faults, reasons, shares)
                if on_images is not None:
                    on_images(chunk.stop)
        with self._told():
            os.fsync(self._file.fileno())
        states = States(dict(sorted(faults.items())), reasons, shares)
        _write_states(self.folder / STATES, fingerprint, states)
        return states

    def images(self, positions: Sequence[int]) -> Tensor:
        """Return pictures as they are, (n, 3, S, S) uint8."""
        return self._read(positions, 0, self._image).view(-1, *self._shape)

    def backgrounds(self, positions: Sequence[int]) -> Tensor:
        """Return pictures without their objects, (n, 3, S, S) uint8."""
        return self._read(positions, self._image, self._image).view(-1, *self._shape)

    def masks(self, positions: Sequence[int]) -> Tensor:
        """Return the masks of pictures, (n, S, S) bool, true on the object."""
        packed = self._read(positions, 2 * self._image, self._mask).numpy()
        side = self.frame.image_size
        bits = np.unpackbits(packed, axis=1, count=side * side) if len(positions) else np.empty((0, side * side))
        return torch.from_numpy(bits.astype(bool)).view(-1, side, side)

    def _prepare(
        self,
        items: Items,
        chunk: range,
        pool: ThreadPoolExecutor,
        workers: int,
        faults: dict[int, Fault],
        reasons: dict[int, str],
        shares: Tensor,
    ) -> None:
        pixels: dict[int, Tensor] = {}
        looks: dict[int, tuple[Masks, Any]] = {}

        def read(item: int) -> None:
            group, position = items.where(item)
            try:
                photo = read_photo(group.source, position, self.frame.at_least)
                pixels[item] = self.frame.pixels(photo)
                if group.masks is not None:
                    least = group.masks.at_least
                    seen = photo if photo.has(least) else read_photo(group.source, position, least)
                    looks[item] = (group.masks, group.masks.look(position, seen))
            except ImageError as error:
                pixels.pop(item, None)
                faults[item] = Fault.unreadable
                reasons[item] = error.reason

        list(pool.map(read, chunk))
        read_ones = sorted(pixels)
        self._write(read_ones, 0, torch.stack([pixels[item] for item in read_ones]) if read_ones else None)
        # Each thread gets a part, because some sources are faster with several pictures at once.
        order = sorted(looks)
        parts = [order[first::workers] for first in range(workers) if order[first::workers]]
        found: dict[int, Tensor] = {}
        for part, made in zip(parts, pool.map(lambda part: _tell([looks[item] for item in part]), parts), strict=True):
            for item, mask in zip(part, made, strict=True):
                judged = mask if isinstance(mask, Fault) else judge(mask, self.frame)
                if isinstance(judged, Fault):
                    faults[item] = judged
                else:
                    found[item] = judged
        good = sorted(found)
        if not good:
            return
        masks = torch.stack([found[item] for item in good])
        shares[good] = masks.double().mean((1, 2))
        images = torch.stack([pixels[item] for item in good])
        self._write(good, self._image, without_object(images, masks))
        self._write(good, 2 * self._image, torch.from_numpy(np.packbits(masks.flatten(1).numpy(), axis=1)))

    def _read(self, positions: Sequence[int], offset: int, length: int) -> Tensor:
        content = np.empty((len(positions), length), dtype=np.uint8)
        for row, position in enumerate(positions):
            self._file.seek(position * self._record + offset)
            self._file.readinto(content[row])
        return torch.from_numpy(content)

    def _write(self, positions: Sequence[int], offset: int, content: Tensor | None) -> None:
        for row, position in enumerate(positions):
            assert content is not None
            with self._told():
                self._file.seek(position * self._record + offset)
                write_all(self._file, content[row].numpy().data)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Name the file in an error of the system, which names none for a write."""
        try:
            yield
        except OSError as error:
            raise could_not_write(self.folder / FILE, error) from error


def remove_pictures(folder: Path) -> None:
    """Delete the files of `Pictures` in a folder."""
    (folder / FILE).unlink(missing_ok=True)
    (folder / STATES).unlink(missing_ok=True)


def _tell(looks: Sequence[tuple[Masks, Any]]) -> list[Any]:
    found: list[Any] = [None] * len(looks)
    for masks in {id(of): of for of, _ in looks}.values():
        rows = [row for row, (of, _) in enumerate(looks) if of is masks]
        for row, one in zip(rows, masks.tell([looks[row][1] for row in rows]), strict=True):
            found[row] = one
    return found


def _read_states(path: Path, fingerprint: str, count: int) -> States | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["fingerprint"] != fingerprint or len(content["shares"]) != count:
            return None
        faults = {int(item): Fault(fault) for item, fault in content["faults"].items()}
        reasons = {int(item): str(reason) for item, reason in content["reasons"].items()}
        return States(faults, reasons, torch.tensor(content["shares"], dtype=torch.float64))
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None


def _write_states(path: Path, fingerprint: str, states: States) -> None:
    content = {
        "fingerprint": fingerprint,
        "faults": {str(item): str(fault) for item, fault in states.faults.items()},
        "reasons": {str(item): reason for item, reason in states.reasons.items()},
        "shares": states.shares.tolist(),
    }
    write_json(path, content)


def _chunks(count: int) -> Iterator[range]:
    for start in range(0, count, CHUNK):
        yield range(start, min(start + CHUNK, count))
