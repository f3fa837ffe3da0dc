"""Write files so that an interruption leaves either the whole new file or the old one."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backmix.errors import RunError, TrainingError

LOCK = ".lock"
"""The file by which a process shows that it works on a folder."""

_held: dict[Path, int] = {}  # How many blocks of this process hold the lock of a folder.


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it, then rename it to `path`.

    Args:
        path: The file to make or replace.
        write: A function that writes the whole file at a given path.

    Raises:
        TrainingError: If the file cannot be written, for example because the disk is full. The old file is kept.
    """
    make_folder(path.parent)
    # The temporary name is always the same, so that the next process overwrites the file of a killed one.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with _alone(temporary):
            try:
                write(temporary)
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                with suppress(OSError):  # A disk that cannot be written refuses this too, and would hide the error.
                    temporary.unlink(missing_ok=True)
                raise
    except (OSError, RuntimeError) as error:
        # torch reports a failed write as RuntimeError, while it handles the error of the system.
        first = error.__context__
        raise could_not_write(path, first if isinstance(first, OSError) else error) from error
    try:
        _sync_folder(path.parent)  # The rename itself must survive a power cut.
    except OSError as error:
        raise TrainingError(
            f"wrote {path}, but could not sync its folder: {error.strerror or error}. The file is whole, and a power "
            "cut may undo it. Make room on the disk, and run the command again (with --resume, if it has that)."
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        TrainingError: If it cannot be made, for example because the disk is read-only.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise could_not_write(folder, error) from error


def could_not_write(path: Path, error: OSError | RuntimeError) -> TrainingError:
    """Return the error that says which file or folder could not be written, why, and what to do.

    Args:
        path: The path of what was to be written, under its final name.
        error: The error of the system, or of torch, which reports a failed write as RuntimeError.
    """
    number = error.errno if isinstance(error, OSError) else errno.ENOSPC
    hint = ""
    if number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        hint = " Make room on the disk, and run the command again (with --resume, if it has that)."
    elif number in (errno.EROFS, errno.EACCES, errno.EPERM):
        hint = " Choose a folder that may be written to, or make this one so."
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    kept = " The file from before is untouched." if os.path.isfile(path) else ""
    return TrainingError(f"could not write {path}: {reason}.{kept}{hint}")


@contextmanager
def _alone(temporary: Path) -> Iterator[None]:
    """Make a temporary file, and wait until no other process writes it.

    Windows does not rename a file that is open. There, two processes that write one file at once are not kept apart.
    """
    if os.name == "nt":
        yield
        return
    from filelock import lock_descriptor

    while True:
        file = os.open(temporary, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            with suppress(OSError):  # The file system may have no locks.
                lock_descriptor(file)
            if not _is_at(file, temporary):
                continue  # The other process has renamed it meanwhile, so this one makes a new one.
            yield
            return
        finally:
            os.close(file)


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is the one that stands at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, so that no second process writes into it. A process may lock a folder several times.

    The folder is made if it is missing, and goes again if nothing was put into it. The system releases the lock when
    the process dies, however it dies. At the end, temporary files that killed processes left in the folder are removed.

    Raises:
        RunError: If another process has locked it.
        TrainingError: If the folder cannot be written.
    """
    from filelock import lock_descriptor

    name = folder.absolute()
    if _held.get(name):
        _held[name] += 1
        try:
            yield
        finally:
            _held[name] -= 1
        return
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    path = folder / LOCK
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as error:
            raise could_not_write(folder, error) from error
        try:
            free = lock_descriptor(file, blocking=False)
        except OSError:  # The file system has no locks.
            free = True
        if not free:
            os.close(file)
            raise RunError(f"another process works on {folder}. Wait for it, or choose another folder.")
        if _is_at(file, path):
            break
        os.close(file)  # The process that held it has removed it meanwhile.
    _held[name] = 1
    try:
        yield
    finally:
        del _held[name]
        _sweep(folder)
        if os.name == "nt":
            os.close(file)
        with suppress(OSError):
            path.unlink()
        if os.name != "nt":
            os.close(file)
        for each in made:
            with suppress(OSError):  # Something was put there.
                each.rmdir()


def _sweep(folder: Path) -> None:
    """Remove the temporary files of `write_atomically` that no process writes any more."""
    from filelock import lock_descriptor

    for temporary in folder.glob(".*.tmp"):
        with suppress(OSError):
            file = os.open(temporary, os.O_RDWR)
            try:
                if lock_descriptor(file, blocking=False) and os.name != "nt":
                    temporary.unlink()
            finally:
                os.close(file)


def is_locked(folder: Path) -> bool:
    """Return whether another process works on a folder, see `locked`."""
    from filelock import lock_descriptor

    try:
        file = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        return folder.absolute() not in _held and not lock_descriptor(file, blocking=False)
    except OSError:
        return False
    finally:
        os.close(file)


@contextmanager
def nothing_left_of_a_refusal(folder: Path, worth_keeping: Callable[[], bool]) -> Iterator[None]:
    """Remove what the block wrote into a new or empty folder if an error ends the block before anything was achieved.

    So an option that is refused, early or late, never stands in the way of the corrected command. An interruption
    (Ctrl-C) removes nothing, because `--resume` goes on after it.

    Args:
        folder: The folder. If it held anything but its lock before the block, nothing is removed.
        worth_keeping: A function that says, after an error, whether the folder holds work that can be gone on with.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    fresh = bool(made) or (folder.is_dir() and all(entry.name == LOCK for entry in folder.iterdir()))
    try:
        yield
    except Exception:
        with suppress(OSError):  # What cannot be removed must not hide the refusal.
            if fresh and folder.is_dir() and not worth_keeping():
                _remove_all(folder)
                for each in made:
                    each.rmdir()  # Another process may have put something there meanwhile.
        raise


def _remove_all(folder: Path) -> None:
    """Remove everything in a folder but its lock."""
    for entry in folder.iterdir():
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically, see `write_atomically`."""
    write_atomically(path, lambda temporary: _write_text(temporary, text))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file atomically, see `write_atomically`."""
    write_atomically(path, lambda temporary: _write_bytes(temporary, content))


def write_json(path: Path, value: Any) -> None:
    """Write an indented JSON file atomically. A NaN is an error."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_all(file: io.FileIO, data: bytes | memoryview) -> None:
    """Write all the data into an unbuffered file, which may take less than that in one call.

    A buffered file would keep what it could not write, and fail once more when it is closed.

    Raises:
        OSError: If it cannot be written. A part of it may have been.
    """
    view = memoryview(data).cast("B")
    while view:
        view = view[file.write(view) or 0 :]


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
