"""A temporary folder for this process alone, which the next start removes if this process is killed.

Each process that serves a page has a folder and a file with a lock of the same name, side by side under a parent that
belongs to the user. The operating system frees the lock when the process ends, however it ends. So a folder whose lock
is free belongs to nobody, and what was dropped into it is deleted.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import lock_descriptor

from backmix.errors import BackmixError

_PREFIX, _LOCK = "page-", ".lock"


@contextmanager
def process_folder(parent: Path | None = None) -> Iterator[Path]:
    """Make an empty folder, and remove it at the end. First remove the folders of processes that were killed.

    Args:
        parent: The folder that holds the folders of all processes; by default `parent_folder`.

    Yields:
        The folder, which only this user can open.

    Raises:
        BackmixError: If the parent belongs to another user.
        OSError: If the folder cannot be made, for example because the disk is full.
    """
    parent = parent or parent_folder()
    sweep(parent)
    folder, lock = _new(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)  # Before the file is removed, because Windows removes no open file.
        with suppress(OSError):
            _lock_of(folder).unlink()


def parent_folder() -> Path:
    """Return the folder that holds the folders of all processes of this user; it is made if it is missing.

    Raises:
        BackmixError: If what stands at its place belongs to another user or is no folder.
    """
    ours = os.getuid() if hasattr(os, "getuid") else None  # Windows has a temporary folder for each user.
    parent = Path(tempfile.gettempdir()) / ("backmix-app" if ours is None else f"backmix-app-{ours}")
    with suppress(FileExistsError):
        parent.mkdir(mode=0o700)
    found = parent.lstat()  # A link of another user could lead anywhere.
    if not stat.S_ISDIR(found.st_mode) or (ours is not None and found.st_uid != ours):
        raise BackmixError(
            f"{parent} is not a folder of yours, and dropped pictures would lie in it: remove it, or set TMPDIR to a "
            "folder that only you can write to"
        )
    if ours is not None and stat.S_IMODE(found.st_mode) != 0o700:
        parent.chmod(0o700)
    return parent


def sweep(parent: Path) -> None:
    """Remove the folders of processes that have ended. What cannot be removed stays, for the next sweep.

    Args:
        parent: The folder that holds the folders of all processes.
    """
    for lock in parent.glob(f"{_PREFIX}*{_LOCK}"):
        with suppress(OSError), open(lock, "rb+") as file:
            if lock_descriptor(file.fileno(), blocking=False):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                with suppress(OSError):
                    lock.unlink()
    # A folder is made after its lock and removed before it, so a folder without one belongs to nobody.
    for folder in parent.glob(f"{_PREFIX}*"):
        if folder.suffix != _LOCK and not _lock_of(folder).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _new(parent: Path) -> tuple[Path, int]:
    """Return a new folder and the descriptor that holds its lock."""
    while True:
        folder = parent / f"{_PREFIX}{secrets.token_hex(8)}"
        descriptor = os.open(_lock_of(folder), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with suppress(OSError):  # A file system without locks is never swept either.
                lock_descriptor(descriptor)
            # Another process may have swept the file away between its making and its locking.
            if _lock_of(folder).exists():
                folder.mkdir(mode=0o700)
                return folder, descriptor
        except BaseException:
            os.close(descriptor)
            _lock_of(folder).unlink(missing_ok=True)
            raise
        os.close(descriptor)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK)
