"""A folder of class folders, where the name of a class folder is the label of its images."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image

from backmix.data.content import file_key
from backmix.data.entries import entries, folders_in, images_in, is_folder, is_image, is_passed_over, walk
from backmix.data.entries import natural_key as natural_key
from backmix.data.formats import passed_over
from backmix.data.images import open_image, open_photo, readable, undeclared_limits
from backmix.data.layout import (
    folder_to_give,
    inner_folders_to_leave_out,
    layout_notes,
    mask_files,
    not_classes,
    server_folders,
)
from backmix.data.names import match_names, respelt_in_words
from backmix.data.photo import Photo
from backmix.data.source import ImageSource, check_position
from backmix.data.value_range import Range
from backmix.errors import DataError, some_of


class FolderSource:
    """Images sorted into one folder per class.

    Classes and images are in natural order ("img2" before "img10"), which is the same on every machine. Images in
    folders inside a class folder belong to that class. Hidden files, and bins and previews of file servers, are
    skipped. So are masks, results and images without a class among the class folders, see `backmix.data.layout`. Links
    are followed, each real folder once per class. Class names are in Unicode form NFC, so that folders copied from a
    Mac keep their names.

    Args:
        root: The folder that holds the class folders.
        classes: Names that come first in the attribute `classes`, in this order, even if they have no images here.
            Folders whose names differ from one of them only in case, blanks, hyphens or underscores belong to it, and
            folders with other names follow. So a test folder can share its numbering with the training folder.
        min_classes: The smallest number of classes with images; 2 by default, because a classifier needs two classes.
        loose: Whether images directly in root count too, as a class that is called like root.

    Attributes:
        classes: The names of all classes.
        labels: (N,) int64, the index of each image's class in `classes`.
        skipped: The files that do not have the extension of an image, relative to root.
        ranges: The ranges with which deep pixels are read, see `backmix.data.common_range.use_ranges`.
        empty_classes: The class folders without an image. They are left out of `classes` unless the argument names
            them.
        left_out: The folders and files that were left out, relative to root, and the reason for each.

    Raises:
        DataError: If the folder does not exist or is empty, it has images but no class folders, there are too few
            classes, or two class names differ only in case.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        classes: Sequence[str] | None = None,
        min_classes: int = 2,
        loose: bool = False,
    ) -> None:
        self.root = Path(root)
        self.ranges: dict[str, Range] = {}
        names = class_folders(self.root, loose=loose)
        self.left_out: dict[str, str] = not_classes(self.root, names)
        self._given, self._read_loose = list(classes or ()), loose
        self._loose = images_in(self.root)
        self._names = [name for name in names if name not in self.left_out]
        self.skipped: list[str] = [
            readable(entry.name)
            for entry in entries(self.root)
            if not is_folder(entry) and not is_image(entry.name) and not is_passed_over(entry.name)
        ]
        images: dict[str, list[str]] = {}
        for folder in self._names:
            images.setdefault(_nfc(folder), []).extend(self._images_of(folder))
        if loose and self._loose:
            images.setdefault(_nfc(self.root.absolute().resolve().name), []).extend(self._loose)
        self.left_out |= server_folders(self.root, "")
        check_class_names(self._names, self.root)
        own = [_nfc(name) for name in self._given]
        self._called = match_names(list(images), own)
        of_class: dict[str, list[str]] = {}
        for name, paths in images.items():
            of_class.setdefault(self._called.get(name, name), []).extend(paths)
        self.classes: list[str] = own + [name for name, paths in of_class.items() if paths and name not in own]
        self.empty_classes: list[str] = [name for name, paths in images.items() if not paths]
        check_class_names(self.classes, self.root)
        filled = [name for name, paths in of_class.items() if paths]
        if len(filled) < min_classes:
            raise DataError(self._too_few(filled, min_classes))
        self._paths = [path for name in self.classes for path in of_class.get(name, [])]
        counts = torch.tensor([len(of_class.get(name, [])) for name in self.classes], dtype=torch.int64)
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

    def read_photo(self, i: int, at_least: int | None) -> Photo:
        """See `backmix.data.source.HasPhotos`."""
        return open_photo(self.path(i), at_least=at_least, name=self.name(i), ranges=self.ranges)

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
        """Return one sentence for people about each kind of entry that was left out or may be meant otherwise."""
        given = folder_to_give(self.root, [name for name in self._names if _nfc(name) not in self.empty_classes])
        notes = [given] if given else []
        for reason in dict.fromkeys(self.left_out.values()):
            names = [readable(name) for name, of in self.left_out.items() if of == reason]
            notes.append(f"left out {some_of(names, 5, quoted=True)}: {reason}")
        if self._loose and not self._read_loose:
            notes.append(f"{len(self._loose)} images lie in no class folder and are left out")
        elif self._loose:
            where = "no class folders" if not self._names else f"{len(self._loose)} images in no class folder"
            notes.append(f"{where}: these images are taken for a class called {_nfc(self.root.resolve().name)!r}")
        if self.empty_classes:
            notes.append(f"no images in {some_of(self.empty_classes, 5, quoted=True)}: left out of the classes")
        if respelt := respelt_in_words(list(self._called), [_nfc(name) for name in self._given]):
            notes.append(respelt)
        return [*notes, *passed_over(self.skipped), *layout_notes(self.root, self._names)]

    def _images_of(self, folder: str) -> list[str]:
        """Return the paths of the images of a class folder, relative to root, and keep what was left out."""
        inner = inner_folders_to_leave_out(self.root / folder, folder)
        self.left_out |= inner
        found = list(walk(self.root / folder, folder, frozenset(inner)))
        self.skipped += [readable(path) for path in found if not is_image(path)]
        masks = mask_files(found)
        self.left_out |= {path: "masks beside their images" for path in found if path in masks}
        return [path for path in found if is_image(path) and path not in masks]

    def _too_few(self, filled: list[str], min_classes: int) -> str:
        found = f"images of one class only ({filled[0]!r})" if len(filled) == 1 else f"images of {len(filled)} classes"
        if not filled:
            found = "class folders but no images in them"
        notes = "".join(f"; {note}" for note in self.notes())
        return f"{readable(self.root)} holds {found}; at least {min_classes} classes with images are needed{notes}"


def class_folders(root: Path, *, loose: bool = False) -> list[str]:
    """Return the names of the folders in a folder that may be classes or splits, in natural order.

    Args:
        root: The folder.
        loose: Whether there may be images directly in root and no folders; the answer is then empty.

    Raises:
        DataError: If root is not a folder, cannot be listed, is empty, or holds no folders.
    """
    if not root.exists():
        raise DataError(f"there is no folder {readable(root)}")
    if not root.is_dir():
        raise DataError(f"{readable(root)} is a file; a folder with one folder per class is expected")
    found = [entry for entry in entries(root) if not is_passed_over(entry.name)]
    if names := folders_in(root):
        return names
    if not found:
        raise DataError(f"the folder {readable(root)} is empty; one folder of images per class is expected in it")
    images = sum(is_image(entry.name) for entry in found)
    if images and loose:
        return []
    what = f"{images} images directly in it" if images else f"{len(found)} files but no images"
    raise DataError(
        f"{readable(root)} has no class folders, but {what}; put the images of each class into a folder of their own, "
        f"named like the class"
    )


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


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", readable(name))


def image_key(source: ImageSource, i: int) -> str:
    """Return a name by which image i is found again: its path within a folder, or its number in other data."""
    return readable(source.path(i).relative_to(source.root)) if isinstance(source, FolderSource) else str(i)


def source_notes(source: object) -> list[str]:
    """Return sentences about the entries of a folder that are not images of classes, see `FolderSource.notes`.

    Args:
        source: The images, or a part of them. For data that is no folder there are no sentences.
    """
    while not isinstance(source, FolderSource):
        if (source := getattr(source, "source", None)) is None:
            return []
    return source.notes()
