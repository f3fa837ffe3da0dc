"""Open an image file as 8-bit RGB, or raise an error that gives the reason why it cannot be used.

The content of a file is not trusted. Only formats that cannot contain programs are tried (no EPS, no PSD, no plugins
for old scientific formats), and the size in the header is checked before any pixel is decoded.
"""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError, features

from backmix.errors import DataError

MAX_PIXELS = 178_956_970
"""The largest width times height that is decoded. It takes half a gigabyte as RGB, and is the limit of Pillow too."""

# MPO is not in the list, because Pillow reads an MPO file as the JPEG at its start.
_FORMATS = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]
if "avif" in features.get_supported():
    _FORMATS.append("AVIF")

IMAGE_EXTENSIONS = frozenset(
    f".{name}"
    for names in ("jpg jpeg jpe jfif mpo", "png apng", "gif", "bmp", "webp", "tif tiff", "ppm pgm pbm pnm", "avif")
    for name in names.split()
)
"""The file extensions of images, in lower case."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(DataError):
    """The error for one image that cannot be used.

    Attributes:
        path: The path of the file, or the name of the image if there is no file.
        reason: The reason why it cannot be used, for people.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        # Both parts are arguments of the base class, so that a worker process can pickle the error.
        super().__init__(os.fspath(path), reason)
        self.path = os.fspath(path)
        self.reason = reason

    def __str__(self) -> str:
        """Return the path and the reason in one line."""
        return f"{self.path}: {self.reason}"


def open_image(
    path_or_bytes: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Image.Image:
    """Open and decode an image as 8-bit RGB, upright.

    The EXIF orientation is applied. Only the first frame of an animation or a multi-page file is read. Transparent
    parts are laid over white, because web pages and viewers show them so, and the person who labelled the image saw
    them so. 16-bit greys are divided by 257 and never clipped. Wider integers and floats have no declared range, so the
    range is taken from the values: values within 0..1 (floats), 0..255 or 0..65535 are scaled from that range, and
    other values from their smallest and largest value. CMYK is converted without its colour profile.

    Args:
        path_or_bytes: The path of a file, or the encoded bytes of an image.
        max_pixels: The width times height above which an image is refused by its header alone. Pillow's own limit
            (twice `PIL.Image.MAX_IMAGE_PIXELS`) applies as well.
        name: The name of the image in errors; by default the path, or "bytes".

    Returns:
        A decoded RGB image without metadata, which does not depend on the open file.

    Raises:
        ImageError: If the file is missing, unreadable, empty, not an image, broken, cut off or too large.
    """
    return _open(path_or_bytes, max_pixels, name, "RGB")


def open_mask(
    path_or_bytes: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Image.Image:
    """Open and decode a mask as 8-bit grey ("L"), with the values of the file.

    Args:
        path_or_bytes: The path of a file, or the encoded bytes of a mask.
        max_pixels: The limit of width times height, as in `open_image`.
        name: The name of the mask in errors, as in `open_image`.

    Returns:
        A decoded "L" image, upright like its photograph.

    Raises:
        ImageError: As in `open_image`.
    """
    return _open(path_or_bytes, max_pixels, name, "L")


def as_rgb(image: Image.Image, *, name: str = "picture") -> Image.Image:
    """Convert a picture that Pillow has already opened to 8-bit RGB, upright, by the rules of `open_image`.

    Args:
        image: The picture, of any mode. It is not changed.
        name: The name of the picture in errors.

    Raises:
        ImageError: If its pixels cannot be decoded.
    """
    with _guard:
        try:
            image.load()
            turn, plain = _turn(image), _to_rgb(image)
        except Exception as error:  # See `_decode`.
            raise ImageError(name, f"broken or cut off: {error or type(error).__name__}") from None
    plain = plain if turn is None else plain.transpose(turn)
    plain.info.clear()
    return plain


def _open(source: str | os.PathLike[str] | bytes, max_pixels: int, name: str | None, mode: str) -> Image.Image:
    if max_pixels < 1:
        raise ValueError(f"max_pixels must be at least 1; got {max_pixels}")
    if isinstance(source, bytes):
        if not source:
            raise ImageError(name or "bytes", "empty (0 bytes)")
        return _decode(io.BytesIO(source), max_pixels, name or "bytes", mode)
    name = name or readable(source)
    try:
        found = os.stat(source)
        if stat.S_ISDIR(found.st_mode):
            raise ImageError(name, "a folder, not an image file")
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(name, "not a regular file")
        if found.st_size == 0:
            raise ImageError(name, "empty (0 bytes)")
        with Path(source).open("rb") as file:
            return _decode(file, max_pixels, name, mode)
    except FileNotFoundError:
        raise ImageError(name, "no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(name, f"cannot be read: {reason}") from None


def _decode(file: Any, max_pixels: int, name: str, mode: str) -> Image.Image:
    """Decode an open binary file. Any error of Pillow becomes an ImageError."""
    with _guard:
        try:
            with Image.open(file, formats=_FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise ImageError(name, _too_large(f"{image.width}x{image.height} pixels", max_pixels))
                if min(image.size) < 1:
                    raise ImageError(name, f"has no pixels ({image.width}x{image.height})")
                image.load()
                turn = _turn(image)
                plain = _to_rgb(image) if mode == "RGB" else _to_grey(image)
        except ImageError:
            raise
        except UnidentifiedImageError:
            known = ", ".join(_FORMATS)
            raise ImageError(name, f"not an image ({known} are read), or its header is broken") from None
        except Image.DecompressionBombError:
            raise ImageError(name, _too_large("far more pixels", max_pixels)) from None
        except MemoryError:
            raise ImageError(name, "does not fit into memory") from None
        except Exception as error:  # On damaged files, Pillow raises many kinds of error, such as struct.error.
            raise ImageError(name, f"broken or cut off: {error or type(error).__name__}") from None
    plain = plain if turn is None else plain.transpose(turn)
    plain.info.clear()
    return plain


def _too_large(found: str, max_pixels: int) -> str:
    return f"{found}, more than the {max_pixels} allowed; refused without decoding. Shrink it, or raise max_pixels"


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return the operation that sets the image upright, by its EXIF orientation; None if it needs none."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Damaged EXIF data does not mean that the pixels are damaged.
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode to RGB, always as a new image."""
    if _is_deep(image):
        return _to_8_bit(image).convert("RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours).convert("RGB")
    return image.convert("RGB")


def _to_grey(image: Image.Image) -> Image.Image:
    return _to_8_bit(image) if _is_deep(image) else image.convert("L")


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale a 16-bit, 32-bit or float grey image to 8 bits, mode "L"."""
    values: npt.NDArray[Any] = np.asarray(image)
    if image.mode.startswith("I;16"):
        grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    else:
        numbers = values.astype(np.float64)
        finite = np.isfinite(numbers)
        if not finite.any():
            raise ValueError("no finite value in it")
        low, high = numbers[finite].min(), numbers[finite].max()
        limits = ([1.0] if image.mode == "F" else []) + [255.0, 65535.0]
        ranges = [(0.0, limit) for limit in limits if low >= 0 and high <= limit]
        low, high = ranges[0] if ranges else (low, high)
        numbers = np.nan_to_num(numbers, nan=low, posinf=high, neginf=low)
        grey = np.rint((numbers - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    return Image.fromarray(grey)


def readable(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be printed and stored, even if its bytes are not valid text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class _Guard:
    """A context in which Pillow's warnings are off and cut-off files are errors, for as long as any thread is in it.

    Afterwards the earlier settings are restored. Python keeps one set of warning filters for the whole process, so the
    threads share one change of them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._tolerant = ImageFile.LOAD_TRUNCATED_IMAGES
                ImageFile.LOAD_TRUNCATED_IMAGES = False
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                # The warning about large images is off too, because `max_pixels` is exact and checked before decoding.
                warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
            self._users += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._filters.__exit__(None, None, None)
                ImageFile.LOAD_TRUNCATED_IMAGES = self._tolerant


_guard = _Guard()
