"""A table of `datasets` (memory-mapped Arrow) with a column of encoded images and a column of labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from PIL import Image

from backmix.data.content import bytes_key, file_key
from backmix.data.entries import natural_key
from backmix.data.folder import check_class_names
from backmix.data.images import ImageError, open_image, open_mask, open_photo, undeclared_limits
from backmix.data.photo import Photo
from backmix.data.source import check_position
from backmix.data.table_cells import encoded_image, shown
from backmix.data.value_range import Range
from backmix.errors import DataError

if TYPE_CHECKING:
    import datasets


T = TypeVar("T")

BINARY = ("binary", "large_binary", "binary_view")
"""The types of Arrow that hold encoded images."""


class TableSource:
    """Labelled images in a table of `datasets`.

    The images are in the column "image" or "img", or in the only column of images. The labels are in the column "label"
    or "fine_label", or in the only column of class labels. A column of class labels holds the class names; in other
    columns, the integers, truth values or texts that occur are the names themselves, and -1 or nothing is no class. If
    there is a column "mask" with images, it is used.

    An image is the bytes in its row. A row without bytes may name a file in a folder of the data; files outside are
    never opened.

    Args:
        table: A `datasets.Dataset`.
        origin: The name of the table in errors.
        folders: The folders whose files rows may name. A relative path begins at the first.

    Attributes:
        classes: The names of all classes; a class may have no image here.
        labels: (N,) int64, the index of each image's class in `classes`; -1 if the table has -1 or nothing.
        ranges: The ranges with which deep pixels are read, see `backmix.data.common_range.use_ranges`.

    Raises:
        DataError: If there is no column of images or of labels, a label has no name, or two names differ only in case.
    """

    def __init__(self, table: datasets.Dataset, origin: str, folders: Sequence[Path] = ()) -> None:
        self._origin, self._folders = origin, tuple(folders)
        self.ranges: dict[str, Range] = {}
        image = _image_column(table, origin)
        label = _label_column(table, origin)
        self.classes, self.labels = _classes_and_labels(table, label, origin)
        check_class_names(self.classes, origin)
        self._images = _undecoded(table, image)
        has_mask = image != "mask" and "mask" in table.column_names and _is_image(table.features["mask"])
        self._masks = _undecoded(table, "mask") if has_mask else None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.labels)

    def read(self, i: int) -> Image.Image:
        """See `ImageSource.read`."""
        return self._used(i, self._images, lambda content: open_image(content, ranges=self.ranges))

    def read_photo(self, i: int, at_least: int | None) -> Photo:
        """See `backmix.data.source.HasPhotos`."""
        return self._used(i, self._images, lambda file: open_photo(file, at_least=at_least, ranges=self.ranges))

    def undeclared_limits(self, i: int) -> tuple[str, float, float] | None:
        """See `backmix.data.common_range.HasRanges`."""
        return self._used(i, self._images, undeclared_limits)

    def content_key(self, i: int) -> bytes:
        """Return the SHA-256 of the encoded image in row i, see `backmix.data.content.content_key`."""
        return self._used(i, self._images, lambda of: bytes_key(of) if isinstance(of, bytes) else file_key(of))

    def read_mask(self, i: int) -> Image.Image | None:
        """Return the mask of image i as in the table: 255 object, 0 background, 128 not labelled; None without mask."""
        check_position(i, len(self))
        if self._masks is None or _cell(self._masks, i) is None:
            return None
        return self._used(i, self._masks, open_mask, "its mask: ")

    def name(self, i: int) -> str:
        """Return the origin of the table, the row, and the file name in the row, if there is one."""
        cell = _cell(self._images, check_position(i, len(self)))
        path = cell.get("path") if isinstance(cell, dict) else None
        return f"{self._origin}[{i}]" + (f" ({shown(path)})" if isinstance(path, str) and path else "")

    def _used(self, i: int, column: datasets.Dataset, use: Callable[[bytes | Path], T], what: str = "") -> T:
        """Return what a function makes of the encoded image in row i. An error names the row."""
        try:
            return use(encoded_image(_cell(column, check_position(i, len(self))), self._folders))
        except DataError as error:
            # The name is looked up only here, because that is as slow as reading the image.
            reason = error.reason if isinstance(error, ImageError) else str(error)
            raise ImageError(self.name(i), what + reason) from None


def _is_image(feature: Any) -> bool:
    """Return whether a column holds encoded images: it is declared so, or holds bytes and path, or bytes alone."""
    if type(feature).__name__ == "Image" or getattr(feature, "dtype", None) in BINARY:
        return True
    return isinstance(feature, dict) and {"bytes", "path"} <= set(feature)


def _image_column(table: datasets.Dataset, origin: str) -> str:
    images = [name for name, feature in table.features.items() if _is_image(feature) and name != "mask"]
    named = [name for name in ("image", "img") if name in images]
    return _choose(named or images, table, origin, 'images: "image", "img" or a single column of image type')


def _label_column(table: datasets.Dataset, origin: str) -> str:
    features = table.features
    named = [name for name in ("label", "fine_label") if _is_label(features.get(name))]
    declared = [name for name, feature in features.items() if _is_class(feature)]
    return _choose(named or declared, table, origin, 'labels: "label", "fine_label" or a single column of class labels')


def _is_label(feature: Any) -> bool:
    return _is_class(feature) or re.match(r"u?int|bool|(large_)?string", str(_dtype(feature))) is not None


def _is_class(feature: Any) -> bool:
    return type(feature).__name__ == "ClassLabel"


def _dtype(feature: Any) -> Any:
    return getattr(feature, "dtype", None)


def _choose(candidates: list[str], table: datasets.Dataset, origin: str, wanted: str) -> str:
    if candidates and (len(candidates) == 1 or candidates[0] in ("image", "img", "label", "fine_label")):
        return candidates[0]
    columns = ", ".join(f"{name} ({_dtype(f) or type(f).__name__})" for name, f in table.features.items())
    found = f"found several: {', '.join(candidates)}" if candidates else "found none"
    raise DataError(f"{origin} needs one column of {wanted}; {found}. Its columns: {columns}")


def _classes_and_labels(table: datasets.Dataset, column: str, origin: str) -> tuple[list[str], torch.Tensor]:
    feature = table.features[column]
    values = table.data.column(column)
    if not _is_class(feature):
        # Numbers without names may be ids far apart, so only those that occur are classes.
        given = [None if value in (None, -1) else str(value) for value in values.to_pylist()]
        classes = sorted({name for name in given if name is not None}, key=natural_key)
        number = {name: i for i, name in enumerate(classes)}
        return classes, torch.tensor([-1 if name is None else number[name] for name in given], dtype=torch.int64)
    labels = torch.from_numpy(np.array(values.cast("int64").fill_null(-1).to_numpy(), dtype=np.int64))
    classes = list(feature.names)
    nameless = next((name for name in classes if not isinstance(name, str)), None)
    if nameless is not None:
        raise DataError(f"{origin}: the names of classes are texts; found {nameless!r} in column {column!r}")
    wrong = ((labels < -1) | (labels >= len(classes))).nonzero().flatten()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{origin}: row {row} has label {int(labels[row])}, but there are {len(classes)} class names, so labels go "
            f"from 0 to {len(classes) - 1}, or -1 for no class ({len(wrong)} rows are wrong)"
        )
    return classes, labels


def _undecoded(table: datasets.Dataset, column: str) -> datasets.Dataset:
    """Return a table with the one column, which gives encoded bytes."""
    from datasets import Image as ImageFeature

    alone = table.select_columns([column])
    if type(table.features[column]).__name__ == "Image":
        alone = alone.cast_column(column, ImageFeature(decode=False))
    return alone


def _cell(column: datasets.Dataset, i: int) -> Any:
    return column[i][column.column_names[0]]
