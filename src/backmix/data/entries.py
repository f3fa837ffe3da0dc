"""What lies in a folder: its images, its folders, and the entries that no person put there."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from backmix.data.images import IMAGE_EXTENSIONS, readable
from backmix.errors import DataError

# Bins, previews and snapshots of file servers and desktops: Synology, QNAP, Windows, ext4, macOS shares.
_SERVER = frozenset(
    (
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@snapshot", "@tmp"),
        *("$recycle.bin", "recycler", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"),
        *("lost+found", "network trash folder", "temporary items"),
    )
)


def is_passed_over(name: str) -> bool:
    """Return whether an entry is hidden, or is a bin or the previews of a file server."""
    return name.startswith(".") or name == "__MACOSX" or is_of_server(name)


def is_of_server(name: str) -> bool:
    """Return whether an entry is a bin, a snapshot or the previews of a file server."""
    return name.casefold() in _SERVER


def is_image(name: str) -> bool:
    """Return whether a file has the extension of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder; False for a link that leads nowhere."""
    try:
        return entry.is_dir()
    except OSError:  # A link goes in a circle, or leads to a place that may not be read.
        return False


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return all entries of a folder.

    Raises:
        DataError: If the folder cannot be listed.
    """
    return list(_listed(folder))


def _listed(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            yield from found
    except OSError as error:
        raise DataError(f"the folder {readable(folder)} cannot be listed: {error.strerror}") from None


def folders_in(folder: Path) -> list[str]:
    """Return the names of the folders directly in a folder that are not passed over, in natural order."""
    names = [entry.name for entry in entries(folder) if not is_passed_over(entry.name) and is_folder(entry)]
    return sorted(names, key=natural_key)


def images_in(folder: Path) -> list[str]:
    """Return the names of the images directly in a folder that are not passed over, in natural order."""
    names = [
        entry.name
        for entry in entries(folder)
        if is_image(entry.name) and not is_passed_over(entry.name) and not is_folder(entry)
    ]
    return sorted(names, key=natural_key)


def holds_images(folder: Path) -> bool:
    """Return whether images lie directly in a folder."""
    return any(is_image(entry.name) and not is_passed_over(entry.name) for entry in _listed(folder))


def holds_folders(folder: Path) -> bool:
    """Return whether folders lie directly in a folder."""
    return any(is_folder(entry) and not is_passed_over(entry.name) for entry in _listed(folder))


def holds_folders_alone(folder: Path) -> bool:
    """Return whether folders and no images lie directly in a folder."""
    # This order is quick: in a folder of many images the first entries are images.
    return not holds_images(folder) and holds_folders(folder)


def walk(folder: Path, relative: str, leave_out: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the files below a folder in natural order; each real folder is visited once.

    Args:
        folder: The folder.
        relative: The path of the folder that stands before the names of its files.
        leave_out: Paths of folders, as they would be yielded, that are not entered.
    """
    seen = {_identity(folder), _identity(folder.parent)}
    pending = [(folder, relative)]
    while pending:
        folder, relative = pending.pop()
        inner = []
        for entry in sorted(entries(folder), key=lambda entry: natural_key(entry.name)):
            path = f"{relative}/{entry.name}"
            if is_passed_over(entry.name) or path in leave_out:
                continue
            if not is_folder(entry):
                yield path
            elif (identity := _identity(folder / entry.name)) not in seen:
                seen.add(identity)
                inner.append((folder / entry.name, path))
        pending += reversed(inner)


def natural_key(name: str) -> tuple[tuple[str | int | float, ...], str]:
    """Return a sort key that orders numbers in names by value and ignores case; ties have a fixed order."""
    parts = re.split(r"(\d+)", unicodedata.normalize("NFC", name).casefold())
    return tuple(_value(part) if i % 2 else part for i, part in enumerate(parts)), name


def _value(digits: str) -> int | float:
    # Python reads no whole number of more than 4300 digits. A name in a table may have them, and goes to the end.
    return int(digits) if len(digits) < 1000 else math.inf


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
