"""Open an image file as 8-bit RGB, or raise an error that gives the reason why it cannot be used.

The content of a file is not trusted. Only formats that cannot contain programs are tried (no EPS, no PSD, no plugins
for old scientific formats), and the size in the header is checked before any pixel is decoded.

HEIC and JPEG XL are read if their plugins of Pillow are installed: pip install 'backmix[formats]'.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from PIL import ExifTags, Image, UnidentifiedImageError

from backmix.data.deep_pixels import DeepPixels, deep_pixels
from backmix.data.formats import IMAGE_EXTENSIONS, MissingPluginError, formats, jpeg_xl_size, load_plugin
from backmix.data.photo import SWAPPED, Photo
from backmix.data.quiet_decoders import quiet_decoders
from backmix.data.tiff import TooLargeError, is_tiff, read_deep_tiff
from backmix.data.value_range import NO_RANGES, Range, Ranges, is_declared, kind_of, limits_of
from backmix.errors import DataError, in_one_line

T = TypeVar("T")

__all__ = [
    "IMAGE_EXTENSIONS",
    "MAX_PIXELS",
    "ImageError",
    "as_rgb",
    "open_image",
    "open_mask",
    "open_photo",
    "readable",
    "undeclared_limits",
]

MAX_PIXELS = 178_956_970
"""The largest width times height that is decoded. It takes half a gigabyte as RGB, and is the limit of Pillow too."""

OnGuess = Callable[[str, Range], object]
"""A function that is called with the kind of values of an image and the range that was guessed for them."""

_JPEG = ("JPEG", "MPO")  # Pillow calls a JPEG MPO if more pictures follow the first, as phones write them.
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
    path_or_bytes: str | os.PathLike[str] | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
    ranges: Ranges = NO_RANGES,
    on_guess: OnGuess | None = None,
) -> Image.Image:
    """Open and decode an image as 8-bit RGB, upright.

    The EXIF orientation is applied. Only the first frame of an animation or a multi-page file is read. Transparent
    parts are laid over white, because web pages and viewers show them so, and the person who labelled the image saw
    them so. CMYK is converted without its colour profile.

    More than 8 bits a channel are scaled from the range that the file declares (12 bits in a TIFF by its tags, sBIT of
    a PNG). If it declares none, the range is that of `ranges`, or else a guess by the values: whole numbers of 16 bits
    are taken as 8, 10, 12, 14 or 16 bits, other values within 0..1 (floats), 0..255 or 0..65535 are scaled from that
    range, and all else from the smallest to the largest value.

    Args:
        path_or_bytes: The path of a file, or the encoded bytes of an image.
        max_pixels: The width times height above which an image is refused by its header alone. Pillow's own limit
            (twice `PIL.Image.MAX_IMAGE_PIXELS`) applies as well.
        name: The name of the image in errors; by default the path, or "bytes".
        ranges: The range of each kind of values whose file declares none, as a run keeps it, see
            `backmix.data.value_range`.
        on_guess: A function that is called with the kind of values and their range if it had to be guessed.

    Returns:
        A decoded RGB image without metadata, which does not depend on the open file.

    Raises:
        ImageError: If the file is missing, unreadable, empty, not an image, broken, cut off or too large.
    """
    return _open(path_or_bytes, max_pixels, name, "RGB", ranges, on_guess).upright()


def open_photo(
    path_or_bytes: str | os.PathLike[str] | bytes,
    *,
    at_least: int | None = None,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
    ranges: Ranges = NO_RANGES,
    on_guess: OnGuess | None = None,
) -> Photo:
    """Open an image as `open_image` does, but decode no more pixels than are wanted.

    A JPEG is decoded at a half, a quarter or an eighth of its size where enough is left.

    Args:
        path_or_bytes: The path of a file, or the encoded bytes of an image.
        at_least: The number of pixels of the shorter side that suffices, see `backmix.data.photo.side_to_read`; None:
            every pixel is decoded.
        max_pixels: As in `open_image`. It is the size in the header that counts.
        name: As in `open_image`.
        ranges: As in `open_image`.
        on_guess: As in `open_image`.

    Raises:
        ImageError: As in `open_image`.
    """
    return _open(path_or_bytes, max_pixels, name, "RGB", ranges, on_guess, at_least)


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
    mask = _open(path_or_bytes, max_pixels, name, "L")
    return _upright(mask.pixels, mask.turn)


def undeclared_limits(
    path_or_bytes: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> tuple[str, float, float] | None:
    """Return the kind of values of a deep image, and its smallest and largest, if its file declares no range.

    Images of 8 bits a channel are not decoded.

    Args:
        path_or_bytes: The path of a file, or the encoded bytes of an image.
        max_pixels: The limit of width times height, as in `open_image`.
        name: The name of the image in errors, as in `open_image`.

    Returns:
        The kind (see `backmix.data.value_range.kind_of`) and the two values; None for all other images.

    Raises:
        ImageError: As in `open_image`.
    """

    def look(file: Any) -> tuple[str, float, float] | None:
        deep = _decode(file, max_pixels, None)[0]
        if deep is None:
            return None
        low, high = limits_of(deep.values)
        return None if is_declared(deep.values, deep.declared, high) else (kind_of(deep.values.dtype), low, high)

    return _with_file(path_or_bytes, max_pixels, name, look)


def as_rgb(image: Image.Image, *, name: str = "picture", ranges: Ranges = NO_RANGES) -> Image.Image:
    """Convert a picture that Pillow has already opened to 8-bit RGB, upright, by the rules of `open_image`.

    Args:
        image: The picture, of any mode. It is not changed.
        name: The name of the picture in errors.
        ranges: The range of each kind of deep values, see `open_image`.

    Raises:
        ImageError: If it has no pixels, as a crop of no width has, or its pixels cannot be decoded.
    """
    with quiet_decoders, _Named(name):
        _check_has_pixels(image.size)
        image.load()
        turn = _turn(image)
        deep = deep_pixels(image)
        plain = _plain(image, "RGB") if deep is None else deep.picture(ranges).convert("RGB")
    return _upright(plain, turn)


def _open(
    source: str | os.PathLike[str] | bytes,
    max_pixels: int,
    name: str | None,
    mode: str,
    ranges: Ranges = NO_RANGES,
    on_guess: OnGuess | None = None,
    at_least: int | None = None,
) -> Photo:
    if at_least is not None and not isinstance(at_least, int):
        raise TypeError(f"at_least is a whole number of pixels; got {at_least!r}")
    if at_least is not None and at_least < 1:
        raise ValueError(f"at_least must be at least 1; got {at_least}")

    def photo(file: Any) -> Photo:
        deep, found, turn = _decode(file, max_pixels, mode, at_least)
        if found is None:
            assert deep is not None
            plain = deep.picture(ranges, on_guess)
            found = _photo(plain.convert(mode) if plain.mode != mode else plain, turn)
        return found

    return _with_file(source, max_pixels, name, photo)


def _with_file(source: str | os.PathLike[str] | bytes, max_pixels: int, name: str | None, use: Callable[[Any], T]) -> T:
    """Open a file, or bytes as one, and return what a function makes of it. Any error becomes an ImageError."""
    if max_pixels < 1:
        raise ValueError(f"max_pixels must be at least 1; got {max_pixels}")

    def used(file: Any, name: str) -> T:
        with quiet_decoders, _Named(name, max_pixels):
            return use(file)

    if isinstance(source, bytes):
        if not source:
            raise ImageError(name or "bytes", "empty (0 bytes)")
        return used(io.BytesIO(source), name or "bytes")
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
            return used(file, name)
    except FileNotFoundError:
        raise ImageError(name, "no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(name, f"cannot be read: {reason}") from None


def _decode(
    file: Any, max_pixels: int, mode: str | None, at_least: int | None = None
) -> tuple[DeepPixels | None, Photo | None, Image.Transpose | None]:
    """Return the deep pixels of an open binary file, or else its photograph, and what sets it upright.

    Without a mode, a picture of 8 bits a channel is not decoded.
    """
    if is_tiff(file) and (deep := read_deep_tiff(file, max_pixels)) is not None:
        return deep, None, _TURNS.get(deep.orientation)
    load_plugin(file)
    if (size := jpeg_xl_size(file)) is not None and size[0] * size[1] > max_pixels:
        raise TooLargeError(f"{size[0]}x{size[1]} pixels")  # The plugin decodes when it opens the file.
    with Image.open(file, formats=formats()) as image:
        if image.width * image.height > max_pixels:
            raise TooLargeError(f"{image.width}x{image.height} pixels")
        _check_has_pixels(image.size)
        deep = deep_pixels(image, file)
        if mode is None:
            return deep, None, None
        whole = image.size
        fewer = None
        if at_least is not None and image.format in _JPEG:
            fewer = image.draft(None, (at_least, at_least))
        image.load()
        turn = _turn(image)
        if deep is not None:
            return deep, None, turn
        # Of these formats, a loaded picture does not ask its file for anything any more, so it is not copied.
        able = mode == "RGB" and image.format in (*_JPEG, "PNG") and image.mode in ("RGB", "L")
        plain = image if able and not image.has_transparency_data else _plain(image, mode)
        if fewer is None:
            return None, _photo(plain, turn), turn
        return None, _photo(plain, turn, whole, round(whole[0] / fewer[1][2])), turn


def _photo(
    pixels: Image.Image, turn: Image.Transpose | None, whole: tuple[int, int] | None = None, scale: int = 1
) -> Photo:
    """Return pixels as a photograph, whose file holds `whole` pixels before they are turned."""
    width, height = whole or pixels.size
    return Photo(pixels, (height, width) if turn in SWAPPED else (width, height), scale, turn)


class _Named:
    """A context in which any error of a decoder becomes an ImageError."""

    def __init__(self, name: str, max_pixels: int = MAX_PIXELS) -> None:
        self._name, self._max_pixels = name, max_pixels

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None or isinstance(error, ImageError):
            return
        # On damaged files, Pillow raises many kinds of error, such as struct.error; a decoder in Rust raises a
        # BaseException.
        if not isinstance(error, Exception) and kind is not None and kind.__name__ != "PanicException":
            return
        raise ImageError(self._name, self._reason(error)) from None

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, UnidentifiedImageError):
            return f"not an image ({', '.join(formats())} are read), or its header is broken"
        if isinstance(error, (TooLargeError, Image.DecompressionBombError)):
            found = str(error) if isinstance(error, TooLargeError) else "far more pixels"
            return (
                f"{found}, more than the {self._max_pixels} allowed; refused without decoding. Shrink it, or raise "
                "max_pixels"
            )
        if isinstance(error, MemoryError):
            return "does not fit into memory"
        if isinstance(error, (NoPixelsError, MissingPluginError)):
            return str(error)
        return f"broken or cut off: {in_one_line(error)}"


class NoPixelsError(ValueError):
    """An image has no width or no height."""


def _check_has_pixels(size: tuple[int, int]) -> None:
    if min(size) < 1:
        raise NoPixelsError(f"has no pixels ({size[0]}x{size[1]})")


def _upright(plain: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    plain = plain if turn is None else plain.transpose(turn)
    plain.info.clear()
    return plain


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return the operation that sets the image upright, by its EXIF orientation; None if it needs none."""
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return None  # The decoder has turned it already.
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Damaged EXIF data does not mean that the pixels are damaged.
        return None


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Convert a loaded image of 8 bits a channel to "RGB" or "L", always as a new image."""
    if mode == "RGB" and image.has_transparency_data:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours).convert("RGB")
    return image.convert(mode)


def readable(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be printed and stored, even if its bytes are not valid text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
