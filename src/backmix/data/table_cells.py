"""What a cell of a table holds: an encoded image, or the name of its file, which must lie in the folder of the data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backmix.data.images import readable
from backmix.errors import DataError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|.*::")
"""The beginning of an address (http://, hf://), and the chains of fsspec (zip://a.png::b.zip)."""

_SHOWN = 100  # The number of characters of a path that are printed.


def encoded_image(cell: Any, folders: Sequence[Path]) -> bytes | Path:
    """Return the encoded image of a cell, or the path of its file.

    A table comes from strangers, and whatever file it names would be read as part of the data. So a file is opened only
    if it lies in a folder of the data, with all links followed.

    Args:
        cell: The bytes; or "bytes" and "path", where the path counts if there are no bytes; or None.
        folders: The folders of the data. A relative path begins at the first. Without a folder, no file is opened.

    Raises:
        DataError: If the cell holds no image, or names a file outside the folders.
    """
    path = None
    if isinstance(cell, dict):
        cell, path = cell.get("bytes"), cell.get("path")
    if isinstance(cell, bytes):
        return cell
    if cell is not None:
        raise DataError(f"the row holds {type(cell).__name__} where the bytes of an image are expected")
    if path is None:
        raise DataError("the row has no image")
    if not isinstance(path, str):
        # A number would be taken for an open file of this process.
        raise DataError(f"the row holds {type(path).__name__} where the path of a file is expected")
    return _file_inside(path, folders)


def shown(path: str) -> str:
    """Return the path of a row as it can be printed: not endless, and without characters that move the cursor."""
    short = path if len(path) <= _SHOWN else "..." + path[-_SHOWN:]
    return short if short.isprintable() else repr(short)


def _file_inside(path: str, folders: Sequence[Path]) -> Path:
    named = repr(path if len(path) <= _SHOWN else path[:_SHOWN] + "...")
    if _ADDRESS.match(path):
        raise DataError(f"the row holds no image but the address {named}, and addresses are not fetched")
    if not folders:
        raise DataError(f"the row holds no image but the path {named}, and files are not opened for this table")
    try:
        file = (folders[0] / path).resolve()
        inside = any(file.is_relative_to(folder.resolve()) for folder in folders)
    except (OSError, ValueError, RuntimeError):  # Links in a circle, NUL characters, names that are too long.
        raise DataError(f"the row holds no image but {named}, which cannot be the path of a file") from None
    if not inside:
        raise DataError(
            f"the row holds no image but the path {named}, which leads out of {readable(folders[0])}; only files "
            f"inside are opened. Put the file there, or its bytes into the table"
        )
    return file
