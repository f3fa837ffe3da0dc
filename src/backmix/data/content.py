"""Name an image by its content, so that what was computed from it is found again under any path."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Protocol, runtime_checkable

from backmix.data.images import ImageError, readable
from backmix.data.source import ImageSource, Subset


@runtime_checkable
class HasContentKey(Protocol):
    """An image source that knows the content of an image without decoding it."""

    def content_key(self, i: int) -> bytes:
        """Return 32 bytes that name the encoded content of image i."""


def content_key(source: ImageSource, i: int) -> bytes:
    """Return 32 bytes that name the content of image i: equal for equal files, different for different pixels.

    Sources that have encoded files hash these. Of others, the pixels are hashed.

    Args:
        source: The images.
        i: The position of the image in the source.

    Raises:
        ImageError: If the image cannot be read.
    """
    if isinstance(source, Subset):
        return content_key(source.source, int(source.indices[i]))
    if isinstance(source, HasContentKey):
        return source.content_key(i)
    picture = source.read(i)
    return hashlib.sha256(f"{picture.mode} {picture.size} ".encode() + picture.tobytes()).digest()


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
