"""What is remembered beside an unfinished file of answers, so that it can be gone on with: FILE.progress.

The first line holds the settings. Then there is a line for each row that is safely in the file: where it ends, the
CRC-32 of the file up to there, which path it answers, and how. Paths stand as digests of their exact bytes, because
their spelling in the file may be that of another file as well. Before an image is copied into a folder, a line says
where to; another takes that back.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import lock_descriptor

from backmix.errors import BackmixError

_DIGEST = re.compile("[0-9a-f]{32}")


class OutputError(BackmixError):
    """Answers cannot be written, or not gone on with, as asked."""


def digest(path: str) -> str:
    """What stands for a path: 32 hexadecimal digits of the bytes it consists of."""
    return hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()


class Answered:
    """Which paths have a row already, and how many rows: 24 bytes each in memory.

    Args:
        digests: of the paths of the rows.
    """

    def __init__(self, digests: Iterator[str]) -> None:
        found = np.fromiter((bytes.fromhex(one) for one in digests), dtype="S16")
        self._digests, self._rows = np.unique(found, return_counts=True)

    def take(self, path: str) -> bool:
        """Whether there is a row for this path that was not taken before."""
        # NumPy drops NUL bytes from the end of what it gives back.
        wanted = bytes.fromhex(digest(path)).rstrip(b"\0")
        at = int(np.searchsorted(self._digests, np.bytes_(wanted)))
        if at == len(self._digests) or self._digests[at] != wanted or not self._rows[at]:
            return False
        self._rows[at] -= 1
        return True


class Journal:
    """The file FILE.progress, locked while it is open.

    Args:
        path: where it is; made if missing.

    Raises:
        OutputError: when another process has it open, or it is something else.

    Attributes:
        settings: the first line, or None where there is none.
        end: where the last row that is safely in the file of answers ends, in bytes.
        crc: CRC-32 of that file up to there.
        counts: rows by kind: "known", "unknown", "error".
        answered: which paths have a row.
        copies: by digest, where images without a row were about to be copied to, or were.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "a+b")  # noqa: SIM115  (It stays open, and with it the lock.)
        _lock(self._file, path)
        self._file.seek(0)
        first = self._file.readline()
        self.settings = _object(first)
        if self.settings is None and first.endswith(b"\n"):  # Otherwise it was cut off while it was made.
            raise OutputError(f"{path} was not written by backmix predict; move it away, or choose another file")
        self.end = self.crc = 0
        self.counts: Counter[str] = Counter()
        self.copies: dict[str, list[str]] = {}
        self._whole = self._file.tell() if self.settings is not None else 0
        self.answered = Answered(self._rows())
        self._file.truncate(self._whole)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Forget all and write the first line."""
        self._file.truncate(0)
        self._whole = 0
        self._write([dict(settings)])
        os.fsync(self._file.fileno())
        self.settings = dict(settings)
        self.end = self.crc = 0
        self.counts.clear()
        self.copies.clear()
        self.answered = Answered(iter(()))

    def add_rows(self, rows: list[tuple[int, int, str, str]]) -> None:
        """Rows that are safely in the file: end, CRC-32 up to there, digest, kind."""
        self._write([["row", *row] for row in rows])

    def add_copy(self, path: str, target: str) -> None:
        """An image that is about to be copied: its path, and where to, from the folder of folders."""
        self._write([["copy", digest(path), target]])

    def drop_copy(self, path: str, target: str) -> None:
        """What was announced is not there, or not any more."""
        self._write([["drop", digest(path), target]])

    def close(self) -> None:
        """Close the file and give the lock back."""
        self._file.close()

    def remove(self) -> None:
        """Delete the file: the answers are complete."""
        self.path.unlink(missing_ok=True)
        self._file.close()

    def _write(self, records: list[Any]) -> None:
        lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records).encode()
        descriptor = self._file.fileno()
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError:
            os.ftruncate(descriptor, self._whole)  # Half a line would end it.
            raise
        self._whole += len(lines)

    def _rows(self) -> Iterator[str]:
        """Digests of the rows; what was cut off ends them."""
        while self.settings is not None and (record := _record(line := self._file.readline())):
            kind, *values = record
            if kind == "row":
                self.end, self.crc, which, answer = values
                self.counts[answer] += 1
                if len(targets := self.copies.pop(which, [])) > 1:  # Of a path that is given several times.
                    self.copies[which] = targets[1:]
                yield which
            else:
                which, target = values
                targets = self.copies.setdefault(which, [])
                if kind == "copy":
                    targets.append(target)
                elif target in targets:
                    targets.remove(target)
            self._whole += len(line)


def _object(line: bytes) -> dict[str, Any] | None:
    value = _json(line)
    return value if isinstance(value, dict) else None


def _record(line: bytes) -> list[Any] | None:
    match _json(line):
        case ["row", int(end), int(crc), str(which), str(kind)] if _DIGEST.fullmatch(which):
            return ["row", end, crc, which, kind]
        case ["copy" | "drop" as kind, str(which), str(target)] if _DIGEST.fullmatch(which):
            return [kind, which, target]
    return None


def _json(line: bytes) -> Any:
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        free = lock_descriptor(file.fileno(), blocking=False)
    except OSError:  # A file system without locks.
        return
    if not free:
        file.close()
        raise OutputError(f"another backmix predict is writing beside {path}; wait for it, or stop it")
