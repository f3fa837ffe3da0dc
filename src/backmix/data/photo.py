"""A photograph as its file was decoded: perhaps with fewer pixels than the file has, and not yet turned upright.

A JPEG can be decoded to a half, a quarter or an eighth of its size, which skips most of the work. Of a photograph of
12 megapixels that becomes 224 pixels, a network needs no more. The rule (decoding 2) is: as few pixels as possible, but
at least `GAP` = 2 times the wanted side. A picture whose shorter side is below 4 times the wanted side is therefore
decoded in full, and so is any other format than JPEG.

What the rule costs was measured as the difference from full decoding in grey levels (0 to 255), on average over the
pixels of the finished square; `benchmarks/decoding.py` measures it and writes results/decoding.json. With a gap of 1, 2
and 4: photographs of 12 megapixels at 224 px 0.4, 0.2 and 0.1; close-set textures of 12 megapixels at 224 px 1.8, 0.5
and 0.2; photographs of 160 px at 32 px 1.6 to 2.4, 0.2 to 0.6 and 0. A gap of 2 costs about what rounding to whole grey
levels does. A gap of 1 costs three to four times as much and takes 0.65 to 0.85 of the time; a gap of 4 takes 1.2 to
1.8 times as long.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

FULL, SCALED = 1, 2
"""The versions of decoding: every pixel of the file, and no more than are wanted. A run keeps that of its training."""
DECODING = SCALED
"""The version of decoding of new runs."""
GAP = 2
"""The smallest side that is decoded, in sides of the wanted square."""

Box = tuple[float, float, float, float]
"""The left, upper, right and lower edge of a part of a picture, in pixels."""

_BILINEAR = Image.Resampling.BILINEAR
_T = Image.Transpose
SWAPPED = frozenset({_T.TRANSPOSE, _T.ROTATE_270, _T.TRANSVERSE, _T.ROTATE_90})
"""The turns that make rows of columns."""
_FROM_RIGHT = frozenset({_T.FLIP_LEFT_RIGHT, _T.ROTATE_180, _T.TRANSVERSE, _T.ROTATE_90})
"""The turns after which what lay at the right edge of the file lies at the left or upper edge."""
_FROM_BELOW = frozenset({_T.ROTATE_180, _T.FLIP_TOP_BOTTOM, _T.ROTATE_270, _T.TRANSVERSE})


def side_to_read(size: int, decoding: int) -> int | None:
    """Return the side that is decoded at least for a square of `size` pixels; None: every pixel of the file.

    Args:
        size: The side of the finished square in pixels.
        decoding: The version of decoding, `FULL` or `SCALED`.

    Raises:
        ValueError: If there is no such version.
    """
    if type(decoding) is not int or decoding not in (FULL, SCALED):
        raise ValueError(f"decoding is {FULL} (in full) or {SCALED} (no more than is wanted); got {decoding!r}")
    return None if decoding == FULL else GAP * size


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photograph. It looks upright and as large as in its file, whatever the pixels are.

    Turning and converting wait until a part was resized, which is quicker and gives exactly the same pixels.

    Attributes:
        pixels: The picture as it was decoded, "RGB" or "L".
        size: The (width, height) of the upright picture in its file.
        scale: How many pixels of the file a decoded pixel stands for on each side: 1, 2, 4 or 8. The last column and
            row stand for fewer where the size is no multiple of it.
        turn: What turns the pixels upright; None if they are upright.
    """

    pixels: Image.Image
    size: tuple[int, int]
    scale: int = 1
    turn: Image.Transpose | None = None

    @classmethod
    def of(cls, picture: Image.Image) -> Photo:
        """Return a picture in memory, "RGB" or "L" and upright, as a photograph."""
        return cls(picture, picture.size)

    @property
    def width(self) -> int:
        """The width of the upright picture in its file, in pixels."""
        return self.size[0]

    @property
    def height(self) -> int:
        """The height of the upright picture in its file, in pixels."""
        return self.size[1]

    def has(self, side: int) -> bool:
        """Return whether the shorter side was decoded to at least so many pixels, or in full."""
        return self.scale == 1 or min(self.pixels.size) >= side

    def resized(
        self, size: tuple[int, int], box: Box | None = None, resample: Image.Resampling = _BILINEAR
    ) -> Image.Image:
        """Return a part of the photograph, resized, "RGB" and upright.

        Args:
            size: The (width, height) of the result in pixels.
            box: The part, in pixels of the upright picture in its file; None: all of it.
            resample: The way to interpolate, any but NEAREST.

        Raises:
            ValueError: If it is NEAREST, by which a mirrored picture comes out as another.
        """
        left, top, right, bottom = (edge / self.scale for edge in box or (0, 0, *self.size))
        if self.turn in SWAPPED:
            left, top, right, bottom = top, left, bottom, right
        width, height = self._extent
        if self.turn in _FROM_RIGHT:
            left, right = width - right, width - left
        if self.turn in _FROM_BELOW:
            top, bottom = height - bottom, height - top
        if resample == Image.Resampling.NEAREST:
            raise ValueError("a photograph is interpolated; NEAREST is for masks, which are pictures")
        across, down = (size[1], size[0]) if self.turn in SWAPPED else size
        whole = self.pixels.width
        # Pillow interpolates along rows first, and rounds; of pictures above 100 times as high as wide along columns.
        along_columns = self.turn in SWAPPED and not (whole > 100 * self.pixels.height and across < whole)
        if not along_columns:
            part = self.pixels.resize((across, down), resample, (left, top, right, bottom))
        else:
            # The rows of the upright picture are columns here.
            part = self.pixels.resize((whole, down), resample, (0, top, whole, bottom))
            part = part.resize((across, down), resample, (left, 0, right, down))
        part = part if self.turn is None else part.transpose(self.turn)
        part = part if part.mode == "RGB" else part.convert("RGB")
        part.info.clear()
        return part

    def square(self, size: int, resample: Image.Resampling = _BILINEAR) -> Image.Image:
        """Return the central square, resized to `size` x `size` pixels, see `backmix.data.square.central_square`."""
        side = min(self.size)
        left, top = (self.width - side) / 2, (self.height - side) / 2
        return self.resized((size, size), (left, top, left + side, top + side), resample)

    def upright(self) -> Image.Image:
        """Return the whole picture, "RGB" and upright, with the pixels as decoded. It is always a new picture."""
        turned = self.pixels if self.turn is None else self.pixels.transpose(self.turn)
        plain = turned.convert("RGB") if turned is self.pixels or turned.mode != "RGB" else turned
        plain.info.clear()
        return plain

    @property
    def _extent(self) -> tuple[float, float]:
        """The (width, height) of what the file holds, in decoded pixels, before it is turned."""
        width, height = reversed(self.size) if self.turn in SWAPPED else self.size
        return width / self.scale, height / self.scale
