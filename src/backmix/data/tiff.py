"""Read TIFF with more than 8 bits a channel, as microscopes, scanners and thermal cameras write it, with tifffile.

Pillow reads TIFF of 8 bits well. Of deeper ones it keeps white-is-zero as a negative, mixes up channels that are stored
apart, and does not look at the declared depth.
"""

from __future__ import annotations

import math
import re
import zlib
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from backmix.data.deep_pixels import DeepPixels, both_bytes
from backmix.data.formats import MissingPluginError
from backmix.data.quiet_decoders import quiet_loggers
from backmix.data.value_range import DEPTHS, Range
from backmix.errors import in_one_line

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_DEFLATE = (8, 32946)


class TiffError(ValueError):
    """A deep TIFF cannot be read; the text gives the reason."""


class TooLargeError(TiffError):
    """The header of a TIFF declares more pixels than allowed."""


def is_tiff(file: BinaryIO) -> bool:
    """Return whether a file begins as a TIFF or BigTIFF does. The file is at its start afterwards."""
    file.seek(0)
    begin = file.read(4)
    file.seek(0)
    return begin in _MAGIC


def read_deep_tiff(file: BinaryIO, max_pixels: int) -> DeepPixels | None:
    """Return the pixels of the first page of a TIFF; None if Pillow reads this kind better, or the header is broken.

    Args:
        file: The open file, from its start.
        max_pixels: The largest width times height that is decoded.

    Raises:
        TooLargeError: If the header declares more pixels.
        TiffError: If the page is cut off.
        MissingPluginError: If it needs a package that is not installed.
        Exception: Errors of tifffile, if the page is damaged.
    """
    import tifffile

    quiet_loggers()  # Else odd tags of a file of others are told on standard error.
    try:
        page: Any = tifffile.TiffFile(file).pages.first
        deep = _is_deep(page)
    except Exception:  # Whatever is wrong with the header, Pillow says it, or reads it.
        return None
    finally:
        file.seek(0)
    if not deep:
        return None
    if page.imagewidth * page.imagelength > max_pixels:
        raise TooLargeError(f"{page.imagewidth}x{page.imagelength} pixels")
    if page.is_tiled and page.tilewidth * page.tilelength > max_pixels:
        raise TooLargeError(f"tiles of {page.tilewidth}x{page.tilelength} pixels")
    _check_whole(page, file)
    values = _decode(page, file)
    channels = 1 if page.photometric != _RGB else 3
    return DeepPixels(
        values[..., 0] if channels == 1 else values[..., :3],
        _declared(page, values[..., :channels]),
        _alpha(page, values, channels),
        page.photometric == _WHITE_IS_ZERO,
        _number(page, 274) or 1,
    )


def _is_deep(page: Any) -> bool:
    samples = page.samplesperpixel
    if page.imagelength < 1 or page.imagewidth < 1 or page.imagedepth != 1:
        return False
    grey = page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) and samples <= 2
    colour = page.photometric == _RGB and samples in (3, 4)
    return bool(page.bitspersample > 8 and page.dtype is not None and page.dtype.kind in "uif" and (grey or colour))


def _decode(page: Any, file: BinaryIO) -> npt.NDArray[Any]:
    """Return the values (H, W, channels)."""
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    try:
        values: npt.NDArray[Any] = page.asarray(maxworkers=1)
    except (ValueError, NotImplementedError, ImportError) as error:
        if "imagecodecs" not in str(error):
            raise
        return _decode_with_pillow(page, file, error).reshape(shape)
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        values = np.moveaxis(values.reshape(shape[2], *shape[:2]), 0, -1)
    return values.reshape(shape)


def _decode_with_pillow(page: Any, file: BinaryIO, why: Exception) -> npt.NDArray[Any]:
    """Return the values of a page that tifffile cannot decode without imagecodecs (LZW, odd depths), if Pillow can."""
    file.seek(0)
    if page.planarconfig != 2 or page.samplesperpixel == 1:
        with Image.open(file, formats=["TIFF"]) as image:
            if image.mode in ("I", "F") or image.mode.startswith("I;16"):
                image.load()
                return np.asarray(image).astype(page.dtype.newbyteorder("="))
            if image.mode in ("RGB", "RGBA") and page.bitspersample == 16:
                return both_bytes(image, file)
    raise MissingPluginError(f"{in_one_line(why)}: pip install 'backmix[formats]'")


def _check_whole(page: Any, file: BinaryIO) -> None:
    """Raise TiffError if parts of the page are missing, which tifffile fills with black, or hold far too much."""
    offsets, counts = page.dataoffsets, page.databytecounts
    end = file.seek(0, 2)
    if len(offsets) != len(counts) or len(offsets) < math.prod(page.chunked):
        raise TiffError("parts of the image are missing")
    if any(offset + count > end for offset, count in zip(offsets, counts, strict=True)):
        raise TiffError("the file ends before the image does")
    for number, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        expected = _bytes_of_part(page, number)
        if page.compression == 1 and 0 < count < expected and len(offsets) > 1:
            raise TiffError("parts of the image are cut off")
        if page.compression in _DEFLATE and count:
            file.seek(offset)
            # Without a limit, a small file could fill the memory.
            most = _bytes_of_part(page, 0)
            found = len(zlib.decompressobj().decompress(file.read(count), most + 1))
            if found < expected:
                raise TiffError("parts of the image are cut off")
            if found > most:
                raise TiffError("parts of the image hold more than the header says")
    whole = sum(_bytes_of_part(page, number) for number in range(math.prod(page.chunked)))
    if page.compression == 1 and len(offsets) == 1 and counts[0] > 0 and offsets[0] + whole > end:
        raise TiffError("the file ends before the image does")


def _bytes_of_part(page: Any, number: int) -> int:
    """Return the number of bytes of a strip or tile, decoded."""
    samples = 1 if page.planarconfig == 2 else page.samplesperpixel
    if page.is_tiled:
        width, rows = page.tilewidth, page.tilelength
    else:
        rows_per_strip = min(page.rowsperstrip or page.imagelength, page.imagelength)
        strips = -(-page.imagelength // rows_per_strip)
        width = page.imagewidth
        rows = min(rows_per_strip, page.imagelength - (number % strips) * rows_per_strip)
    return int(-(-width * samples * page.bitspersample // 8) * rows)


def _declared(page: Any, values: npt.NDArray[Any]) -> Range | None:
    """Return the range that a page declares for values.

    It is declared by an odd number of bits per sample, by the significant bits of OME-TIFF, or by a tag of the largest
    value. Programs also write the largest value of one picture there, so of whole numbers only a full number of bits
    counts.
    """
    low, high = _number(page, 340), _number(page, 341)
    if values.dtype.kind == "f":
        return (float(low), float(high)) if low is not None and high is not None and low < high else None
    if values.dtype.kind == "i":
        return None
    if page.bitspersample not in (16, 32, 64):
        return 0.0, 2.0**page.bitspersample - 1
    ome = re.search(r'SignificantBits="(\d{1,2})"', page.description or "")
    bits = [int(ome[1])] if ome else []
    bits += [depth for depth in DEPTHS for tag in (281, 341) if _number(page, tag) == 2**depth - 1]
    return next(((0.0, 2.0**depth - 1) for depth in bits if depth in range(8, page.bitspersample + 1)), None)


def _alpha(page: Any, values: npt.NDArray[Any], channels: int) -> npt.NDArray[Any] | None:
    """Return the opacity (H, W) if the first further channel is declared as one (1: associated, 2: not)."""
    extra = page.extrasamples
    has_alpha = values.shape[2] > channels and len(extra) > 0 and int(extra[0]) in (1, 2)
    return values[..., channels] if has_alpha else None


def _number(page: Any, tag: int) -> Any:
    """Return the first value of a tag that holds numbers; None without it."""
    found = page.tags.get(tag)
    value = found.value if found is not None else None
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None
