"""Every picture as the model sees it, decoded once and kept in a file: pixels, mask, and itself without its object.

An image is needed several times, as target and as donor. Read from its file each time it would be decoded each time;
kept in memory a large set would not fit. So they lie in one file of records of equal size, which goes when the audit is
done: 6 S^2 bytes an image, and an eighth of S^2 for its mask.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from backmix.errors import DataError
from backmix.files import write_json

FILE = "pictures.bin"
STATES = "pictures.json"
CHUNK = 32


@dataclass(frozen=True)
class States:
    """What reading the images showed.

    Attributes:
        faults: by item, why it cannot be taken apart; scenes are never at fault for their masks.
        reasons: by item, why an image could not be read.
        shares: (N,) float64 share of what the model sees that the mask covers, 0 without one.
    """

    faults: dict[int, Fault]
    reasons: dict[int, str]
    shares: Tensor

    def readable(self) -> Tensor:
        """(N,) bool."""
        return self._without([Fault.unreadable])

    def usable(self) -> Tensor:
        """(N,) bool: read, and with a mask that means something."""
        return self._without(list(Fault)) & (self.shares > 0)

    def _without(self, kinds: list[Fault]) -> Tensor:
        good = torch.ones(len(self.shares), dtype=torch.bool)
        good[[item for item, fault in self.faults.items() if fault in kinds]] = False
        return good


class Pictures:
    """The file of pictures in a folder, to be read after `prepare`. Close it, or use it in a `with`.

    Args:
        folder: where it lies.
        frame: what of each picture is kept.
        count: number of pictures.
    """

    def __init__(self, folder: Path, frame: Frame, count: int) -> None:
        self.folder, self.frame, self.count = folder, frame, count
        side = frame.image_size
        self._shape = (3, side, side)
        self._image, self._mask = 3 * side * side, -(-side * side // 8)
        self._record = 2 * self._image + self._mask
        (folder / FILE).touch()
        self._file = open(folder / FILE, "r+b")  # noqa: SIM115  (It is read from as long as this lives.)

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; it stays where it is."""
        self._file.close()

    def prepare(
        self, items: Items, fingerprint: str, *, workers: int = 2, on_images: Callable[[int], object] | None = None
    ) -> States:
        """Decode all images, find their objects and take them out; what an earlier call finished is not done again.

        Args:
            items: the images.
            fingerprint: of everything that decides what comes out.
            workers: threads that decode.
            on_images: told the number of images done.

        Raises:
            DataError: when the disk has no room for the file.
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
        self._file.truncate(size)
        faults: dict[int, Fault] = {}
        reasons: dict[int, str] = {}
        shares = torch.zeros(self.count, dtype=torch.float64)
        with ThreadPoolExecutor(max(1, workers)) as pool:
            for chunk in _chunks(self.count):
                self._prepare(items, chunk, pool, workers, faults, reasons, shares)
                if on_images is not None:
                    on_images(chunk.stop)
        self._file.flush()
        os.fsync(self._file.fileno())
        states = States(dict(sorted(faults.items())), reasons, shares)
        _write_states(self.folder / STATES, fingerprint, states)
        return states

    def images(self, positions: Sequence[int]) -> Tensor:
        """(n, 3, S, S) uint8 pictures as they are."""
        return self._read(positions, 0, self._image).view(-1, *self._shape)

    def backgrounds(self, positions: Sequence[int]) -> Tensor:
        """(n, 3, S, S) uint8 pictures without their objects."""
        return self._read(positions, self._image, self._image).view(-1, *self._shape)

    def masks(self, positions: Sequence[int]) -> Tensor:
        """(n, S, S) bool, true on the object."""
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
                picture = group.source.read(position)
            except ImageError as error:
                faults[item] = Fault.unreadable
                reasons[item] = error.reason
                return
            pixels[item] = self.frame.pixels(picture)
            if group.masks is not None:
                looks[item] = (group.masks, group.masks.look(position, picture))

        list(pool.map(read, chunk))
        read_ones = sorted(pixels)
        self._write(read_ones, 0, torch.stack([pixels[item] for item in read_ones]) if read_ones else None)
        # A part for each thread: some sources are quicker with several pictures at once.
        order = sorted(looks)
        parts = [order[first::workers] for first in range(workers) if order[first::workers]]
        found: dict[int, Tensor] = {}
        for part, told in zip(parts, pool.map(lambda part: _tell([looks[item] for item in part]), parts), strict=True):
            for item, mask in zip(part, told, strict=True):
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
            self._file.seek(position * self._record + offset)
            self._file.write(content[row].numpy().data)


def remove_pictures(folder: Path) -> None:
    """Delete what `Pictures` kept in a folder."""
    (folder / FILE).unlink(missing_ok=True)
    (folder / STATES).unlink(missing_ok=True)


def _tell(looks: Sequence[tuple[Masks, Any]]) -> list[Any]:
    told: list[Any] = [None] * len(looks)
    for masks in {id(of): of for of, _ in looks}.values():
        rows = [row for row, (of, _) in enumerate(looks) if of is masks]
        for row, one in zip(rows, masks.tell([looks[row][1] for row in rows]), strict=True):
            told[row] = one
    return told


def _read_states(path: Path, fingerprint: str, count: int) -> States | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["fingerprint"] != fingerprint or len(content["shares"]) != count:
            return None
        faults = {int(item): Fault(fault) for item, fault in content["faults"].items()}
        reasons = {int(item): str(reason) for item, reason in content["reasons"].items()}
        return States(faults, reasons, torch.tensor(content["shares"], dtype=torch.float64))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
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
