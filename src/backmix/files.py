"""Write files so that an interruption leaves either the whole new file or the old one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backmix.errors import TrainingError


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
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # The rename itself must survive a power cut.
        finally:
            os.close(folder)
    except (OSError, RuntimeError) as error:
        # torch reports a failed write as RuntimeError.
        with suppress(OSError):  # A disk that cannot be written refuses this too, and would hide the error.
            temporary.unlink(missing_ok=True)
        raise could_not_write(path, error) from error


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
        hint = " Make room on the disk, then go on with --resume."
    elif number in (errno.EROFS, errno.EACCES, errno.EPERM):
        hint = " Choose a folder that may be written to, or make this one so."
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    kept = " The file from before is untouched." if os.path.isfile(path) else ""
    return TrainingError(f"could not write {path}: {reason}.{kept}{hint}")


@contextmanager
def nothing_left_of_a_refusal(folder: Path, worth_keeping: Callable[[], bool]) -> Iterator[None]:
    """Remove what the block wrote into a new or empty folder if an error ends the block before anything was achieved.

    So an option that is refused, early or late, never stands in the way of the corrected command. An interruption
    (Ctrl-C) removes nothing, because `--resume` goes on after it.

    Args:
        folder: The folder. If it held anything before the block, nothing is removed.
        worth_keeping: A function that says, after an error, whether the folder holds work that can be gone on with.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    fresh = bool(made) or (folder.is_dir() and not any(folder.iterdir()))
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
    for entry in folder.iterdir():
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


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
