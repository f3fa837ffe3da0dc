"""A disk that gets full at a chosen moment, for the code of this process that writes below a folder."""

import builtins
import errno
import io
import os
import sqlite3
import sys
import threading
from contextlib import ExitStack, contextmanager
from unittest import mock


class FullDisk:
    """The operations that need room: how many there were, and from which on there is none.

    Attributes:
        done: The number of operations so far.
        log: (operation, path) of each of them.
    """

    def __init__(self, folder, fail_at):
        self.folder, self.fail_at = os.path.realpath(folder), fail_at
        self.log = []
        self._lock = threading.Lock()

    @property
    def done(self):
        return len(self.log)

    def holds(self, path):
        """Whether a path, or what a descriptor stands for, lies below the folder."""
        try:
            found = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fsdecode(path)
        except (OSError, TypeError):
            return False
        return os.path.abspath(found).startswith(self.folder + os.sep) or os.path.abspath(found) == self.folder

    def room(self, operation, path):
        """Count an operation; return 2 while there is room, 1 for the first that finds none, 0 for the others."""
        with self._lock:
            self.log.append((operation, os.fspath(path) if not isinstance(path, int) else named(path)))
            if self.fail_at is None or self.done < self.fail_at:
                return 2
            return int(self.done == self.fail_at)

    def need(self, operation, path, shown=None):
        """Count an operation, and raise if there is no room for it."""
        if self.room(operation, path) < 2:
            raise no_room(shown)


def named(descriptor):
    return os.readlink(f"/proc/self/fd/{descriptor}")


def no_room(path=None):
    """The error of the system. That of a write names no file, as in the system."""
    names = () if path is None else (path,)
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *names)


@contextmanager
def full_disk(folder, fail_at=None):
    """Let the disk of `folder` be full from the operation with the number `fail_at` on, counted from 1.

    What counts: making or emptying a file, writing, `fsync`, making a folder or a link, renaming. The first write that
    finds no room writes a half of its bytes, and says so, as systems do; the next one raises. What needs no room works:
    reading, opening a file that is there, shortening it, deleting. SQLite writes by itself, so its statements count
    instead. Arrow does too, and is given an open file. The C++ code of other libraries is not seen, nor are children.

    Args:
        folder: The folder whose disk it is.
        fail_at: The number of the operation; None: operations are only counted.

    Yields:
        The `FullDisk`.
    """
    disk = FullDisk(folder, fail_at)
    with ExitStack() as stack:

        def put(owner, name, value):
            stack.enter_context(mock.patch.object(owner, name, value))

        opened = _opener(disk)
        put(builtins, "open", opened)
        put(io, "open", opened)
        put(os, "open", _os_open(disk))
        for name in ("write", "sendfile"):
            put(os, name, _os_write(disk, name))
        for name in ("fsync", "mkdir"):
            put(os, name, _needs(disk, name))
        for name in ("replace", "rename", "link", "symlink"):
            put(os, name, _needs(disk, name, which=1))
        put(sqlite3, "connect", _sqlite(disk))
        if "pyarrow.parquet" in sys.modules:
            parquet = sys.modules["pyarrow.parquet"]
            put(parquet, "ParquetWriter", _parquet(parquet.ParquetWriter))
        yield disk


def _needs(disk, name, which=0):
    real = getattr(os, name)

    def call(*arguments, **options):
        target = arguments[which]
        if disk.holds(target):
            disk.need(name, target, None if isinstance(target, int) else arguments[0])
        return real(*arguments, **options)

    return call


def _os_open(disk):
    real = os.open

    def call(path, flags, mode=0o777, **options):
        makes = flags & os.O_TRUNC or (flags & os.O_CREAT and not os.path.lexists(path))
        if makes and disk.holds(path):
            disk.need("open", path, path)
        return real(path, flags, mode, **options)

    return call


def _os_write(disk, name):
    real, write = getattr(os, name), os.write

    def call(descriptor, *arguments):
        if disk.holds(descriptor):
            room = disk.room(name, descriptor)
            if name == "write" and room == 1 and len(arguments[0]) > 1:
                return write(descriptor, memoryview(arguments[0]).cast("B")[: len(arguments[0]) // 2])
            if room < 2:
                raise no_room()
        return real(descriptor, *arguments)

    return call


class _File(io.FileIO):
    """A raw file on the disk; `open` buffers it."""

    disk: FullDisk

    def write(self, data):
        room = self.disk.room("write", self.fileno())
        view = memoryview(data).cast("B")
        if room == 1 and len(view) > 1:
            return super().write(view[: len(view) // 2])
        if room < 2:
            raise no_room()
        return super().write(view)


def _opener(disk):
    real = io.open

    def call(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        if not set(mode) & set("wax+") or not disk.holds(file):
            return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
        makes = not isinstance(file, int) and ("w" in mode or not os.path.lexists(file))
        if makes and "r" not in mode and opener is None:  # An opener calls `os.open`, which counts.
            disk.need("open", file, file)
        raw = _File(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        raw.disk = disk
        if buffering == 0:
            return raw
        made = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return made if "b" in mode else io.TextIOWrapper(made, encoding, errors, newline)

    return call


def _sqlite(disk):
    real = sqlite3.connect

    class Connection(sqlite3.Connection):
        path = ""

        def _need(self, text):
            if text.lstrip().upper().startswith(("CREATE", "INSERT", "UPDATE", "DELETE")) and (
                disk.room("sqlite", self.path) < 2
            ):
                raise sqlite3.OperationalError("database or disk is full")

        def execute(self, text, *more):
            self._need(text)
            return super().execute(text, *more)

        def executemany(self, text, rows):
            self._need(text)
            return super().executemany(text, rows)

    def call(path, *arguments, **options):
        if not disk.holds(path):
            return real(path, *arguments, **options)
        if not os.path.exists(path) and disk.room("sqlite", path) < 2:
            raise sqlite3.OperationalError("unable to open database file")
        made = real(path, *arguments, factory=Connection, **options)
        made.path = os.fspath(path)
        return made

    return call


def _parquet(real):
    @contextmanager
    def call(path, *arguments, **options):
        with open(path, "wb") as file, real(file, *arguments, **options) as writer:
            yield writer

    return call
