"""One way to open an image: any file that people have in their folders becomes 8-bit RGB, or a reason why not.

Nothing a file says is trusted. Only formats without programs inside are tried (no EPS, no PSD, no plugins for old
scientific formats), and the size in the header is checked before a single pixel is decoded.
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
"""Width times height that is still decoded: half a gigabyte as RGB, and where Pillow itself stops."""

# MPO needs no mention: Pillow reads it as the JPEG it starts with.
_FORMATS = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]
if "avif" in features.get_supported():
    _FORMATS.append("AVIF")

IMAGE_EXTENSIONS = frozenset(
    f".{name}"
    for names in ("jpg jpeg jpe jfif mpo", "png apng", "gif", "bmp", "webp", "tif tiff", "ppm pgm pbm pnm", "avif")
    for name in names.split()
)
"""Lower-case file extensions that are taken for images."""

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
    """One image cannot be used.

    Attributes:
        path: the file, or what stands for it.
        reason: why, for people.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        # Both parts are arguments, so that the error survives the way out of a worker process.
        super().__init__(os.fspath(path), reason)
        self.path = os.fspath(path)
        self.reason = reason

    def __str__(self) -> str:
        """Path and reason in one line."""
        return f"{self.path}: {self.reason}"


def open_image(
    path_or_bytes: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Image.Image:
    """Open and decode an image as 8-bit RGB, upright.

    EXIF orientation is applied. Of an animation or a multi-page file the first frame counts. Transparent parts are laid
    over white: that is what web pages and viewers show behind them, so it is what the person who labelled the image
    saw. 16-bit greys are divided by 257, never clipped. Wider integers and floats say nothing about their range, so it
    is read off the values: within 0..1 (floats), 0..255 or 0..65535 they are scaled from that range, otherwise from
    their smallest and largest value. CMYK is converted without its colour profile.

    Args:
        path_or_bytes: a file, or the encoded bytes of one.
        max_pixels: width times height above which the image is refused on the word of its header alone. Pillow's own
            limit (`PIL.Image.MAX_IMAGE_PIXELS`, twice) holds as well.
        name: what to call the image in errors; the path, or "bytes", by default.

    Returns:
        A decoded RGB image without metadata, not tied to the file.

    Raises:
        ImageError: the file is missing, unreadable, empty, not an image, broken, cut off or too large.
    """
    return _open(path_or_bytes, max_pixels, name, "RGB")


def open_mask(
    path_or_bytes: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Image.Image:
    """Open and decode a mask as 8-bit grey ("L"), values as they are in the file.

    Args:
        path_or_bytes: as in `open_image`.
        max_pixels: as in `open_image`.
        name: as in `open_image`.

    Returns:
        A decoded "L" image, upright like its photograph.

    Raises:
        ImageError: as in `open_image`.
    """
    return _open(path_or_bytes, max_pixels, name, "L")


def as_rgb(image: Image.Image, *, name: str = "picture") -> Image.Image:
    """Bring a picture that Pillow has open already to 8-bit RGB, upright, by the rules of `open_image`.

    Args:
        image: any mode; not changed.
        name: what to call it in errors.

    Raises:
        ImageError: its pixels cannot be decoded.
    """
    with _guard:
        try:
            image.load()
            turn, plain = _turn(image), _to_rgb(image)
        except Exception as error:  # as in _decode
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
    """Decode an open binary file; whatever Pillow raises becomes an ImageError."""
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
        except Exception as error:  # Pillow's readers raise anything from SyntaxError to struct.error on damaged files
            raise ImageError(name, f"broken or cut off: {error or type(error).__name__}") from None
    plain = plain if turn is None else plain.transpose(turn)
    plain.info.clear()
    return plain


def _too_large(found: str, max_pixels: int) -> str:
    return f"{found}, more than the {max_pixels} allowed; refused without decoding. Shrink it, or raise max_pixels"


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What sets the image upright, by its EXIF orientation."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF says nothing about the pixels
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode to RGB; always a new image."""
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
    """Scale a 16-bit, 32-bit or float grey image to 8 bit, mode "L"."""
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
    """Spell a path so that it can be printed and stored, even where its bytes are no text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class _Guard:
    """While any thread decodes, Pillow's warnings are off and cut-off files are errors; afterwards all is put back.

    Python keeps warning filters for the whole process, so the threads share one change of them.
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
                # The warning about large images is off as well: our own limit is exact and comes before decoding.
                warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
            self._users += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._filters.__exit__(None, None, None)
                ImageFile.LOAD_TRUNCATED_IMAGES = self._tolerant


_guard = _Guard()
