"""The journal FILE.progress, which lies beside an unfinished file of answers so that it can be continued.

The first line holds the settings. Then each row that is safely in the file of answers has a line with the position
where the row ends, the CRC-32 of the file up to there, the path that the row answers, and the kind of the answer. A
path is stored as a digest of its exact bytes, because two paths may be spelled alike in the file of answers. Before an
image is copied into a folder, a line announces the target; another line can withdraw the announcement.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import lock_descriptor

from backmix.errors import BackmixError

_DIGEST = re.compile("[0-9a-f]{32}")


class OutputError(BackmixError):
    """The answers cannot be written, or the file of answers cannot be continued."""


def digest(path: str) -> str:
    """Return the digest that stands for a path: 32 hexadecimal digits, computed from its bytes."""
    return hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()


class Answered:
    """The paths that already have a row, and the number of their rows. Each path takes 24 bytes of memory.

    Args:
        digests: The digests of the paths of the rows.
    """

    def __init__(self, digests: Iterator[str]) -> None:
        found = np.fromiter((bytes.fromhex(one) for one in digests), dtype="S16")
        self._digests, self._rows = np.unique(found, return_counts=True)

    def take(self, path: str) -> bool:
        """Take one row of this path; return whether there was a row that had not been taken yet."""
        # NumPy drops trailing NUL bytes from the strings that it returns.
        wanted = bytes.fromhex(digest(path)).rstrip(b"\0")
        at = int(np.searchsorted(self._digests, np.bytes_(wanted)))
        if at == len(self._digests) or self._digests[at] != wanted or not self._rows[at]:
            return False
        self._rows[at] -= 1
        return True


class Journal:
    """The file FILE.progress, which is locked while it is open.

    Args:
        path: The path of the journal; the file is made if it is missing.

    Raises:
        OutputError: If another process has the journal open, or if the file is not a journal.

    Attributes:
        settings: The settings from the first line, or None if there is no first line.
        end: The position in bytes where the last row that is safely in the file of answers ends.
        crc: The CRC-32 of the file of answers up to `end`.
        counts: The number of rows of each kind: "known", "unknown" and "error".
        answered: The paths that have a row.
        copies: The announced targets of images without a row, by the digest of the path. A copy may or may not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "a+b")  # noqa: SIM115  (The open file holds the lock.)
        _lock(self._file, path)
        self._file.seek(0)
        first = self._file.readline()
        self.settings = _object(first)
        if self.settings is None and first.endswith(b"\n"):  # Without a line break it was cut off while being written.
            raise OutputError(f"{path} was not written by backmix predict; move it away, or choose another file")
        self.end = self.crc = 0
        self.counts: Counter[str] = Counter()
        self.copies: dict[str, list[str]] = {}
        self._whole = self._file.tell() if self.settings is not None else 0
        self.answered = Answered(self._rows())
        self._file.truncate(self._whole)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Empty the journal and write the first line."""
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
        """Enter rows that are safely in the file of answers: for each its end, the CRC-32 up to there, digest, kind."""
        self._write([["row", *row] for row in rows])

    def add_copy(self, path: str, target: str) -> None:
        """Announce that an image is about to be copied.

        Args:
            path: The path of the image.
            target: The path of the copy, relative to the folder that holds the class folders.
        """
        self._write([["copy", digest(path), target]])

    def drop_copy(self, path: str, target: str) -> None:
        """Withdraw an announcement, because the copy was not made or has been deleted."""
        self._write([["drop", digest(path), target]])

    def close(self) -> None:
        """Close the file and release the lock."""
        self._file.close()

    def remove(self) -> None:
        """Delete and close the file, because the answers are complete."""
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
            os.ftruncate(descriptor, self._whole)  # Reading would stop at half a line.
            raise
        self._whole += len(lines)

    def _rows(self) -> Iterator[str]:
        """Read the journal, and yield the digest of each row. A line that was cut off ends the journal."""
        while self.settings is not None and (record := _record(line := self._file.readline())):
            kind, *values = record
            if kind == "row":
                self.end, self.crc, which, answer = values
                self.counts[answer] += 1
                if len(targets := self.copies.pop(which, [])) > 1:  # The path is given several times.
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


def check_free(path: Path) -> None:
    """Raise OutputError if another process writes the file whose journal lies at a path."""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        _lock(file, path)


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        free = lock_descriptor(file.fileno(), blocking=False)
    except OSError:  # The file system has no locks.
        return
    if not free:
        file.close()
        raise OutputError(f"another backmix predict is writing beside {path}; wait for it, or stop it")
