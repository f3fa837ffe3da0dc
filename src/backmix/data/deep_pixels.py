"""Deep pixels (more than 8 bits a channel) as a file holds them, and their 8-bit picture."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from backmix.data.value_range import Range, Ranges, find_range, to_8_bits


@dataclass(frozen=True)
class DeepPixels:
    """The values of an image with more than 8 bits a channel.

    Attributes:
        values: (H, W) grey or (H, W, 3) colour, numbers of any kind.
        declared: The range that the file declares; None if it declares none.
        alpha: (H, W) the opacity, in the numbers of `values`; None if the image has none.
        negative: Whether the largest value is black.
        orientation: The EXIF orientation that the reader has found, 1 to 8; 1 is upright.
    """

    values: npt.NDArray[Any]
    declared: Range | None = None
    alpha: npt.NDArray[Any] | None = None
    negative: bool = False
    orientation: int = 1

    def picture(self, ranges: Ranges, on_guess: Callable[[str, Range], object] | None = None) -> Image.Image:
        """Return the picture in 8 bits, "L" or "RGB". Transparent parts are laid over white.

        Args:
            ranges: The ranges of the run, for values whose file declares none.
            on_guess: See `find_range`.

        Raises:
            ValueError: If no value is finite.
        """
        range_ = find_range(self.values, self.declared, ranges, on_guess)
        pixels = to_8_bits(self.values, range_)
        if self.negative:
            pixels = 255 - pixels
        picture = Image.fromarray(pixels)
        if self.alpha is None:
            return picture
        # Some programs write 12 bits of colour and 16 bits of opacity.
        full = 2.0 ** (8 * self.alpha.dtype.itemsize) - 1 if self.alpha.dtype.kind == "u" else 1.0
        opaque = range_[1] if float(self.alpha.max()) <= range_[1] else full
        over = Image.new(picture.mode, picture.size, "white")
        over.paste(picture, mask=Image.fromarray(to_8_bits(self.alpha, (0.0, opaque))))
        return over


def deep_pixels(image: Image.Image, file: BinaryIO | None = None) -> DeepPixels | None:
    """Return the deep pixels of an image that Pillow has opened; None if it has 8 bits a channel.

    Args:
        image: The image. It is loaded if it is deep.
        file: The file of the image. Without it, colours of 16 bits are known only by their upper 8 bits.

    Raises:
        Exception: Errors of Pillow, if the pixels are damaged.
    """
    is_png = image.format == "PNG"
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        bits = _significant_bits(file) if is_png and file is not None else None
        image.load()
        values = np.asarray(image)
        if image.format == "PPM" and image.mode == "I":
            return DeepPixels(values, (0.0, 65535.0))  # Pillow has scaled them from the largest value in the header.
        return DeepPixels(values, _range_of_png(values, bits))
    raw_mode = _raw_mode(image) if is_png else ""
    if file is None or not raw_mode.endswith(";16B"):
        return None
    # Pillow has no grey of 16 bits with opacity; as four channels of 8 bits it gives all bytes.
    grey = raw_mode == "LA;16B"
    halves = _decode_as(file, "PNG", "RGBA") if grey else None
    values = both_bytes(image, file) if halves is None else halves[..., ::2] * np.uint16(256) + halves[..., 1::2]
    colours = values[..., 0] if grey else values[..., :3]
    alpha = values[..., -1] if values.shape[2] in (2, 4) else None
    return DeepPixels(colours, _range_of_png(colours, _significant_bits(file)), alpha)


def both_bytes(image: Image.Image, file: BinaryIO) -> npt.NDArray[np.uint16]:
    """Return colours of 16 bits, of which Pillow keeps the upper 8: it is told to keep the others as well.

    Args:
        image: The image, not loaded yet, whose channels Pillow decodes with "MODE;16B", "MODE;16L" or "MODE;16N".
        file: The file of the image.
    """
    order = _raw_mode(image)[-1]
    image.load()
    upper = np.asarray(image).astype(np.uint16)
    # Of two bytes of the data, "B" keeps the first and "L" the second. What libtiff decodes ("N") is in the order of
    # the machine.
    big = order == "B" or (order == "N" and sys.byteorder == "big")
    lower = _decode_as(file, image.format or "", f"{image.mode};16{'L' if big else 'B'}")
    return upper * np.uint16(256) + lower


def _raw_mode(image: Image.Image) -> str:
    """Return what Pillow calls the layout of the channels in the data of an image that is not loaded yet."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _decode_as(file: BinaryIO, format_: str, raw_mode: str) -> npt.NDArray[np.uint16]:
    """Return the bytes (H, W, channels) of an image that Pillow decodes with another layout of the channels."""
    file.seek(0)
    with Image.open(file, formats=[format_]) as opened:
        image: Any = opened
        tiles: list[Any] = []
        for tile in image.tile:
            codec, extents, offset, arguments = tile
            other = (raw_mode, *arguments[1:]) if isinstance(arguments, tuple) else raw_mode
            # A plain tuple before Pillow 11, and a named one since, which Pillow 13 asks for.
            tiles.append(getattr(tile, "_make", tuple)((codec, extents, offset, other)))
        image.tile = tiles
        image.load()
        pixels: npt.NDArray[np.uint16] = np.asarray(image).astype(np.uint16)
    return pixels


def _significant_bits(file: BinaryIO) -> int | None:
    """Return the number of significant bits that a PNG declares in its chunk sBIT; None if it declares none."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"sBIT" and 0 < length <= 4:
            return max(file.read(length))
        if kind == b"IDAT":
            return None
        file.seek(length + 4, 1)
    return None


def _range_of_png(values: npt.NDArray[Any], bits: int | None) -> Range | None:
    """Return the range of the 16-bit values of a PNG that declares a number of significant bits.

    The standard wants samples scaled to the full range, and the number tells how many of their upper bits count. Some
    programs leave the samples as they are: then all fit into that number of bits, and lower bits are in use.
    """
    if bits is None or not 8 <= bits < 16 or values.dtype.itemsize != 2:
        return None
    unused = values & (2 ** (16 - bits) - 1)
    as_they_are = values.max() < 2**bits and bool((unused > 1).any())
    return (0.0, 2.0**bits - 1) if as_they_are else (0.0, 65535.0)
