"""A folder of class folders: the name of the folder an image lies in is its label."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image

from backmix.data.images import IMAGE_EXTENSIONS, open_image, readable
from backmix.data.source import ImageSource, check_position
from backmix.errors import DataError, some_of


class FolderSource:
    """Images sorted into one folder per class.

    Classes and images stand in natural order ("img2" before "img10"), the same on every machine. Images in folders
    inside a class folder belong to that class. Hidden files and `__MACOSX` are passed over; links are followed, each
    real folder once per class. Class names are in Unicode form NFC, so that folders copied from a Mac keep their names.

    Args:
        root: the folder that holds the class folders.
        classes: names that come first in `classes`, in this order, whether or not they have images here. Folders with
            other names follow. This is how a test folder shares its numbering with the training folder.
        min_classes: classes with images that there must be; 2, because one class leaves nothing to tell apart.

    Attributes:
        classes: names of all classes.
        labels: (N,) int64 index into `classes`.
        skipped: files that do not have the extension of an image, relative to root.
        empty_classes: class folders without an image; left out of `classes` unless given there.

    Raises:
        DataError: no such folder, nothing in it, images but no class folders, too few classes, or two class names that
            differ only in case.
    """

    def __init__(
        self, root: str | os.PathLike[str], *, classes: Sequence[str] | None = None, min_classes: int = 2
    ) -> None:
        self.root = Path(root)
        names = class_folders(self.root)
        self.skipped: list[str] = [
            readable(entry.name)
            for entry in _entries(self.root)
            if not _is_folder(entry) and not _is_image(entry.name) and not _is_hidden(entry.name)
        ]
        images: dict[str, list[str]] = {}
        for folder in names:
            found = list(_walk(self.root / folder, folder))
            self.skipped += [readable(path) for path in found if not _is_image(path)]
            images.setdefault(_nfc(folder), []).extend(path for path in found if _is_image(path))
        self.classes: list[str] = [_nfc(name) for name in classes or ()]
        self.classes += [name for name, paths in images.items() if paths and name not in self.classes]
        self.empty_classes: list[str] = [name for name, paths in images.items() if not paths]
        check_class_names([*names, *self.classes], self.root)
        filled = [name for name, paths in images.items() if paths]
        if len(filled) < min_classes:
            raise DataError(self._too_few(filled, min_classes))
        self._paths = [path for name in self.classes for path in images.get(name, [])]
        counts = torch.tensor([len(images.get(name, [])) for name in self.classes], dtype=torch.int64)
        self.labels = torch.repeat_interleave(torch.arange(len(self.classes)), counts)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._paths)

    def path(self, i: int) -> Path:
        """Path of image i."""
        return self.root / self._paths[check_position(i, len(self))]

    def read(self, i: int) -> Image.Image:
        """See `ImageSource.read`."""
        return open_image(self.path(i), name=self.name(i))

    def read_mask(self, i: int) -> Image.Image | None:
        """Class folders hold no masks: always None."""
        check_position(i, len(self))
        return None

    def name(self, i: int) -> str:
        """Path of image i as text."""
        return readable(self.path(i))

    def notes(self) -> list[str]:
        """What was left out while listing, a sentence each, for people; empty when nothing was."""
        notes = []
        if self.empty_classes:
            notes.append(f"no images in {some_of(self.empty_classes, 5, quoted=True)}: left out of the classes")
        if self.skipped:
            notes.append(
                f"{len(self.skipped)} files are not images by their extension: {some_of(self.skipped, 5, quoted=True)}"
            )
        return notes

    def _too_few(self, filled: list[str], min_classes: int) -> str:
        found = f"images of one class only ({filled[0]!r})" if len(filled) == 1 else f"images of {len(filled)} classes"
        if not filled:
            found = "class folders but no images in them"
        notes = "".join(f"; {note}" for note in self.notes())
        return f"{readable(self.root)} holds {found}; at least {min_classes} classes with images are needed{notes}"


def class_folders(root: Path) -> list[str]:
    """Names of the folders in a folder that count as classes, in natural order.

    Raises:
        DataError: root is no folder, cannot be listed, is empty, or holds no folders.
    """
    if not root.exists():
        raise DataError(f"there is no folder {readable(root)}")
    if not root.is_dir():
        raise DataError(f"{readable(root)} is a file; a folder with one folder per class is expected")
    entries = [entry for entry in _entries(root) if not _is_hidden(entry.name)]
    names = [entry.name for entry in entries if _is_folder(entry)]
    if names:
        return sorted(names, key=natural_key)
    if not entries:
        raise DataError(f"the folder {readable(root)} is empty; one folder of images per class is expected in it")
    images = sum(_is_image(entry.name) for entry in entries)
    found = f"{images} images directly in it" if images else f"{len(entries)} files but no images"
    raise DataError(
        f"{readable(root)} has no class folders, but {found}; put the images of each class into a folder of their own, "
        f"named like the class"
    )


def holds_images(folder: Path) -> bool:
    """Whether images lie directly in a folder."""
    return any(_is_image(entry.name) and not _is_hidden(entry.name) for entry in _entries(folder))


def holds_folders(folder: Path) -> bool:
    """Whether folders lie directly in a folder."""
    return any(_is_folder(entry) and not _is_hidden(entry.name) for entry in _entries(folder))


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key that puts numbers inside names in order of their value and ignores case, with a fixed order of ties."""
    parts = re.split(r"(\d+)", unicodedata.normalize("NFC", name).casefold())
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name


def check_class_names(names: Iterable[str], where: object) -> None:
    """Refuse class names that people, or some file systems, would take for the same.

    Args:
        names: class names, as spelt on disk; the same name may come twice.
        where: what to name in the error.

    Raises:
        DataError: two names differ only in case or in their Unicode form.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if _nfc(other) != _nfc(name):
            raise DataError(
                f"{where} has two classes whose names differ only in case or spelling of a letter, {other!r} and "
                f"{name!r}; rename one, or put their images together"
            )


def _walk(folder: Path, relative: str) -> Iterator[str]:
    """Files below a folder as paths relative to the root, in natural order, each real folder once."""
    seen = {_identity(folder), _identity(folder.parent)}
    pending = [(folder, relative)]
    while pending:
        folder, relative = pending.pop()
        inner = []
        for entry in sorted(_entries(folder), key=lambda entry: natural_key(entry.name)):
            path = f"{relative}/{entry.name}"
            if _is_hidden(entry.name):
                continue
            if not _is_folder(entry):
                yield path
            elif (identity := _identity(folder / entry.name)) not in seen:
                seen.add(identity)
                inner.append((folder / entry.name, path))
        pending += reversed(inner)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"the folder {readable(folder)} cannot be listed: {error.strerror}") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that goes in a circle, or leads where we may not look
        return False


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", readable(name))


def image_key(source: ImageSource, i: int) -> str:
    """What to call image i so that it is found again: its path within a folder, its number in other data."""
    return readable(source.path(i).relative_to(source.root)) if isinstance(source, FolderSource) else str(i)
