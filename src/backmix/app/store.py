"""Keep dropped files until they are answered: no more of them than fit, and none for longer than they are needed.

A file is stored under a random name, so the name that a person or a program gave it never reaches the disk, and nobody
can guess where the file of somebody else lies.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

STALE = 300.0
"""The seconds after which a file that waits for an answer makes room for others, if there is no other room."""

KEEP = 3600.0
"""The seconds after which it is deleted in any case."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Refused(Exception):
    """An upload is not taken. The message is a sentence for the person who sent it.

    Attributes:
        status: The status of the HTTP answer.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Store:
    """The files that wait for an answer and those that still arrive, in a folder of bounded size.

    All methods may be called from any thread.

    Args:
        folder: The folder. Nothing else may lie in it.
        most_bytes: The largest number of bytes of all files together.
        most_files: The largest number of files.
        clock: A function that returns the time in seconds.
    """

    def __init__(
        self, folder: Path, *, most_bytes: int, most_files: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self.most_files = most_files
        self._clock = clock
        self._lock = threading.Lock()
        self._bytes = self._files = 0
        # By path, oldest first: the time since when a file waits, and its size.
        self._waiting: dict[str, tuple[float, int]] = {}
        self._closed = False

    @property
    def used(self) -> tuple[int, int]:
        """The bytes and the number of files that are stored now or still arrive."""
        return self._bytes, self._files

    def begin(self) -> Arriving:
        """Make an empty file for an upload.

        Raises:
            Refused: If there is no room for it.
            OSError: If the file cannot be made for another reason.
        """
        with self._lock:
            self._make_room(0, 1)
            path = self.folder / secrets.token_hex(16)
            try:
                # The folder is made again because a cleaner of temporary files may have removed it.
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                # Without a buffer an error arises in `write`, where it can be told.
                file = open(path, "xb", buffering=0, opener=_own)  # noqa: SIM115
            except OSError as error:
                raise _refusal(error) from error
            self._files += 1
            return Arriving(self, path, file)

    def forget(self, paths: Iterable[str]) -> None:
        """Delete files that need no answer any more. Paths that are not in the store are left alone."""
        with self._lock:
            for path in paths:
                self._delete(path)

    def expire(self) -> None:
        """Delete the files that have waited for longer than `KEEP` seconds."""
        with self._lock:
            self._drop_older(KEEP)

    def close(self) -> None:
        """Delete all files and take no more."""
        with self._lock:
            self._closed = True
            for path in list(self._waiting):
                self._delete(path)

    def _make_room(self, size: int, files: int) -> None:
        if self._closed:
            raise Refused(503, "This page is being closed.")
        if self._fits(size, files):
            return
        now = self._clock()
        for path, (since, _) in list(self._waiting.items()):
            if now - since < STALE:
                break
            self._delete(path)
            if self._fits(size, files):
                return
        raise Refused(
            507,
            "There is no room for more pictures at the moment. Drop fewer at once, or try again in some minutes. "
            f"(At most {self.most_bytes / 1e6:,.0f} MB in {self.most_files:,} files may wait for their answers; "
            "--max-space of backmix app sets it.)",
        )

    def _fits(self, size: int, files: int) -> bool:
        return self._bytes + size <= self.most_bytes and self._files + files <= self.most_files

    def _drop_older(self, age: float) -> None:
        now = self._clock()
        for path in [path for path, (since, _) in self._waiting.items() if now - since >= age]:
            self._delete(path)

    def _delete(self, path: str) -> None:
        if path in self._waiting:
            _, size = self._waiting.pop(path)
            self._remove(Path(path), size)

    def _remove(self, path: Path, size: int) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError:  # It still takes its room. The end of the process, or the next start, removes it.
            return
        self._bytes -= size
        self._files -= 1


class Arriving:
    """A file of a store that is being written. `Store.begin` makes it; `keep` or `drop` ends it.

    Attributes:
        path: The path of the file.
        size: The number of bytes written so far.
    """

    def __init__(self, store: Store, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.size = 0
        self._store = store
        self._file = file

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            Refused: If there is no room for them, in the store or on the disk.
        """
        with self._store._lock:
            self._store._make_room(len(data), 0)
            self._store._bytes += len(data)
            self.size += len(data)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._file.fileno(), left) :]
        except OSError as error:
            raise _refusal(error) from error

    def finish(self) -> None:
        """Close the file, because all of it has come. An upload of many files holds one of them open at a time."""
        self._file.close()

    def keep(self) -> str:
        """Let the file wait for its answer, and return its path."""
        self._file.close()
        with self._store._lock:
            if self._store._closed:
                self._store._remove(self.path, self.size)
            else:
                self._store._waiting[str(self.path)] = (self._store._clock(), self.size)
        return str(self.path)

    def drop(self) -> None:
        """Close and delete the file, because the upload was broken off or refused."""
        self._file.close()
        with self._store._lock:
            self._store._remove(self.path, self.size)


def _own(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _refusal(error: OSError) -> Refused:
    if error.errno in _FULL:
        return Refused(507, "The disk of the machine that backmix runs on is full. Try again when there is room on it.")
    return Refused(500, f"The machine that backmix runs on cannot store the picture: {os.strerror(error.errno or 0)}.")
