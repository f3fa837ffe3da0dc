"""Read masks from files of their own: a folder laid out like that of the images, or Parquet with as many rows."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Any

from PIL import Image

from backmix.data.folder import FolderSource
from backmix.data.images import IMAGE_EXTENSIONS, ImageError, open_mask, readable
from backmix.data.parquet import parquet_splits
from backmix.data.source import ImageSource
from backmix.data.table import BINARY
from backmix.data.table_cells import encoded_image
from backmix.errors import DataError, in_one_line


class MaskFiles:
    """Masks of some images, read one by one.

    Args:
        path: A folder of masks, or Parquet. A folder holds the mask of each image under the path of the image, with
            any extension of an image and optionally "_mask" after the name: the masks of class/one.jpg are
            class/one.png, class/one_mask.png, or split/class/one.png. Parquet is a `.parquet` file or a folder of such
            files, with the column "mask" or a single column of images, and one row for each image in the same order.
        source: The images.
        split: The split of the images, for Parquet with several splits.

    Raises:
        DataError: If the path does not exist, or if no mask there belongs to an image.
    """

    def __init__(self, path: Path, source: ImageSource, split: str | None = None) -> None:
        if not path.exists():
            raise DataError(f"there are no masks at {readable(path)!r}: no such file or folder")
        self._folder = path if path.is_dir() else path.parent
        if path.is_file() or any(path.glob("*.parquet")) or any(path.glob("data/*.parquet")):
            self._column: Any = _mask_column(path, len(source), split)
            return
        self._column = None
        if not isinstance(source, FolderSource):
            raise DataError(
                f"the folder of masks {readable(path)} goes with a folder of images, by their names; for other data "
                f"give masks as Parquet, a row for each image"
            )
        there = _images_below(path)
        self._files = [_belonging(source, i, there) for i in range(len(source))]
        if not any(self._files):
            first = Path(source.path(0)).relative_to(source.root).with_suffix(".png") if len(source) else "class/1.png"
            raise DataError(
                f"no mask in {readable(path)} belongs to an image: a mask lies under the path of its image, as in "
                f"{readable(first)}"
            )

    def read(self, i: int) -> Image.Image | None:
        """Return the mask of image i, in mode "L", or None if there is none.

        Raises:
            ImageError: If the mask cannot be decoded.
        """
        if self._column is None:
            file = self._files[i]
            return None if file is None else open_mask(file)
        cell = self._column[i][self._column.column_names[0]]
        if cell is None or (isinstance(cell, dict) and cell.get("bytes") is None and cell.get("path") is None):
            return None
        try:
            return open_mask(encoded_image(cell, [self._folder]), name=f"mask of row {i}")
        except ImageError:
            raise
        except DataError as error:
            raise ImageError(f"mask of row {i}", str(error)) from None


def _images_below(root: Path) -> dict[str, Path]:
    """Return the image files below a folder, by their path below the folder without the extension."""
    found: dict[str, Path] = {}
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            stem, extension = os.path.splitext(name)
            if extension.lower() in IMAGE_EXTENSIONS and not name.startswith("."):
                below = Path(folder).relative_to(root)
                found.setdefault((below / stem).as_posix(), Path(folder, name))
    return found


def _belonging(source: FolderSource, i: int, there: dict[str, Path]) -> Path | None:
    path = source.path(i).relative_to(source.root)
    stem = path.with_suffix("").as_posix()
    split = source.root.name
    names = [stem, f"{stem}_mask", path.as_posix()]
    return next((there[name] for name in [*names, *(f"{split}/{name}" for name in names)] if name in there), None)


def _mask_column(path: Path, rows: int, split: str | None) -> Any:
    """Return the column of encoded masks of a Parquet table."""
    import datasets

    splits = parquet_splits(path)
    chosen = split if split in splits else next(iter(splits)) if len(splits) == 1 else None
    if chosen is None:
        raise DataError(f"the masks in {readable(path)} have the splits {', '.join(splits)}, and none is {split!r}")
    quiet = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        table = datasets.Dataset.from_parquet([glob.escape(str(file.resolve())) for file in splits[chosen]])
    except Exception as error:
        raise DataError(f"the masks in {readable(path)} cannot be read as Parquet: {in_one_line(error)}") from error
    finally:
        if quiet:
            datasets.enable_progress_bars()
    names = [name for name, feature in table.features.items() if _holds_images(feature)]
    column = "mask" if "mask" in names else names[0] if len(names) == 1 else None
    if column is None:
        raise DataError(f"{readable(path)} needs a column 'mask' of images; its columns: {', '.join(table.features)}")
    if len(table) != rows:
        raise DataError(
            f"{readable(path)} has {len(table)} masks, but there are {rows} images; a row for each image is needed"
        )
    alone = table.select_columns([column])
    if type(table.features[column]).__name__ == "Image":
        alone = alone.cast_column(column, datasets.Image(decode=False))
    return alone


def _holds_images(feature: Any) -> bool:
    if type(feature).__name__ == "Image" or getattr(feature, "dtype", None) in BINARY:
        return True
    return isinstance(feature, dict) and {"bytes", "path"} <= set(feature)
