"""A folder of class folders, where the name of a class folder is the label of its images."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image

from backmix.data.content import file_key
from backmix.data.formats import passed_over
from backmix.data.images import IMAGE_EXTENSIONS, open_image, readable, undeclared_limits
from backmix.data.source import ImageSource, check_position
from backmix.data.value_range import Range
from backmix.errors import DataError, some_of


class FolderSource:
    """Images sorted into one folder per class.

    Classes and images are in natural order ("img2" before "img10"), which is the same on every machine. Images in
    folders inside a class folder belong to that class. Hidden files and `__MACOSX` are skipped. Links are followed,
    each real folder once per class. Class names are in Unicode form NFC, so that folders copied from a Mac keep their
    names.

    Args:
        root: The folder that holds the class folders.
        classes: Names that come first in the attribute `classes`, in this order, even if they have no images here.
            Folders with other names follow. So a test folder can share its numbering with the training folder.
        min_classes: The smallest number of classes with images; 2 by default, because a classifier needs two classes.

    Attributes:
        classes: The names of all classes.
        labels: (N,) int64, the index of each image's class in `classes`.
        skipped: The files that do not have the extension of an image, relative to root.
        ranges: The ranges with which deep pixels are read, see `backmix.data.common_range.use_ranges`.
        empty_classes: The class folders without an image. They are left out of `classes` unless the argument names
            them.

    Raises:
        DataError: If the folder does not exist or is empty, it has images but no class folders, there are too few
            classes, or two class names differ only in case.
    """

    def __init__(
        self, root: str | os.PathLike[str], *, classes: Sequence[str] | None = None, min_classes: int = 2
    ) -> None:
        self.root = Path(root)
        self.ranges: dict[str, Range] = {}
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
        """Return the number of images."""
        return len(self._paths)

    def path(self, i: int) -> Path:
        """Return the path of image i."""
        return self.root / self._paths[check_position(i, len(self))]

    def read(self, i: int) -> Image.Image:
        """See `ImageSource.read`."""
        return open_image(self.path(i), name=self.name(i), ranges=self.ranges)

    def undeclared_limits(self, i: int) -> tuple[str, float, float] | None:
        """See `backmix.data.common_range.HasRanges`."""
        return undeclared_limits(self.path(i), name=self.name(i))

    def content_key(self, i: int) -> bytes:
        """Return the SHA-256 of the file of image i, see `backmix.data.content.content_key`."""
        return file_key(self.path(i))

    def read_mask(self, i: int) -> Image.Image | None:
        """Return None, because class folders hold no masks."""
        check_position(i, len(self))
        return None

    def name(self, i: int) -> str:
        """Return the path of image i as text."""
        return readable(self.path(i))

    def notes(self) -> list[str]:
        """Return one sentence for people about each kind of entry that was left out; empty if nothing was."""
        notes = []
        if self.empty_classes:
            notes.append(f"no images in {some_of(self.empty_classes, 5, quoted=True)}: left out of the classes")
        return notes + passed_over(self.skipped)

    def _too_few(self, filled: list[str], min_classes: int) -> str:
        found = f"images of one class only ({filled[0]!r})" if len(filled) == 1 else f"images of {len(filled)} classes"
        if not filled:
            found = "class folders but no images in them"
        notes = "".join(f"; {note}" for note in self.notes())
        return f"{readable(self.root)} holds {found}; at least {min_classes} classes with images are needed{notes}"


def class_folders(root: Path) -> list[str]:
    """Return the names of the folders in a folder that count as classes, in natural order.

    Raises:
        DataError: If root is not a folder, cannot be listed, is empty, or holds no folders.
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
    """Return whether images lie directly in a folder."""
    return any(_is_image(entry.name) and not _is_hidden(entry.name) for entry in _entries(folder))


def holds_folders(folder: Path) -> bool:
    """Return whether folders lie directly in a folder."""
    return any(_is_folder(entry) and not _is_hidden(entry.name) for entry in _entries(folder))


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return a sort key that orders numbers in names by value and ignores case; ties have a fixed order."""
    parts = re.split(r"(\d+)", unicodedata.normalize("NFC", name).casefold())
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name


def check_class_names(names: Iterable[str], where: object) -> None:
    """Raise DataError if people, or some file systems, would take two class names for the same.

    Args:
        names: The class names, as spelt on disk. The same name may occur twice.
        where: The name of the data in the error.

    Raises:
        DataError: If two names differ only in case or in their Unicode form.
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
    """Yield the files below a folder as paths relative to the root, in natural order; visit each real folder once."""
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
    except OSError:  # A link goes in a circle, or leads to a place that may not be read.
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
    """Return a name by which image i is found again: its path within a folder, or its number in other data."""
    return readable(source.path(i).relative_to(source.root)) if isinstance(source, FolderSource) else str(i)


def left_out(source: object) -> list[str]:
    """Return sentences about the entries of a folder that are not images of classes, see `FolderSource.notes`.

    Args:
        source: The images, or a part of them. For data that is no folder there are no sentences.
    """
    while not isinstance(source, FolderSource):
        if (source := getattr(source, "source", None)) is None:
            return []
    return source.notes()
