"""Name an image by its content, so that what was computed from it is found again under any path."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, runtime_checkable

from backmix.data.images import ImageError, readable
from backmix.data.source import ImageSource, Subset, tells_what_is_read

_AT_ONCE = 64


@runtime_checkable
class HasContentKey(Protocol):
    """An image source that knows the content of an image without decoding it."""

    def content_key(self, i: int) -> bytes:
        """Return 32 bytes that name the encoded content of image i."""


def content_key(source: ImageSource, i: int) -> bytes:
    """Return 32 bytes that name the content of image i: equal for equal files, different for different pixels.

    Sources that have encoded files hash these. Of others, and of a subclass that replaces `read` alone, the pixels are
    hashed.

    Args:
        source: The images.
        i: The position of the image in the source.

    Raises:
        ImageError: If the image cannot be read.
    """
    if isinstance(source, Subset):
        return content_key(source.source, int(source.indices[i]))
    if isinstance(source, HasContentKey) and tells_what_is_read(source, "content_key"):
        key = source.content_key(i)
        # With other ranges, the same file has other pixels.
        ranges = getattr(source, "ranges", None)
        return hashlib.sha256(key + repr(sorted(ranges.items())).encode()).digest() if ranges else key
    picture = source.read(i)
    return hashlib.sha256(f"{picture.mode} {picture.size} ".encode() + picture.tobytes()).digest()


def content_keys(source: ImageSource, positions: Sequence[int], *, workers: int = 2) -> list[bytes | ImageError]:
    """Return the content key of each image at some positions, or the error of one that cannot be read.

    Args:
        source: The images.
        positions: The positions of the images in the source.
        workers: The number of threads that read images.
    """

    def keys(part: Sequence[int]) -> list[bytes | ImageError]:
        found: list[bytes | ImageError] = []
        for i in part:
            try:
                found.append(content_key(source, i))
            except ImageError as error:
                found.append(error)
        return found

    # A task for each image would take longer than the hash of a small file.
    parts = [positions[start : start + _AT_ONCE] for start in range(0, len(positions), _AT_ONCE)]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        return [key for part in pool.map(keys, parts) for key in part]


def file_key(path: Path) -> bytes:
    """Return the SHA-256 of a file.

    Raises:
        ImageError: If it is missing, unreadable, or no regular file.
    """
    try:
        # A named pipe or a device would never end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError(readable(path), "not a regular file")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(readable(path), f"cannot be read: {reason}") from None


def bytes_key(content: bytes) -> bytes:
    """Return the SHA-256 of encoded bytes."""
    return hashlib.sha256(content).digest()
