"""The embedded data set: real handwritten digits on textures that correlate with the class of the digit.

It needs no download, it has true masks, and an option sets how often a texture matches the class. Digits 0 to 5 are
meant to be known and 6 to 9 unknown. The unknown digits stand on the textures of the known ones, so a network that
recognises textures takes them for known.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from backmix.data.source import check_position
from backmix.data.textures import NUM_PARAMETERS, PATTERNS, chroma, draw_textures
from backmix.errors import DataError

CLASSES = tuple("0123456789")
DEFAULT_KNOWN = CLASSES[:6]
CONTRAST = 0.25
"""The default contrast. It is low enough for networks to rely on textures. At the prior 0.8, a network that is trained
as in the demo without BackMix is about ten points less accurate on known digits of the split "val" that have the
texture of another class."""
SPLITS = {"train": 0.6, "val": 0.15, "test": 0.25}
"""Split -> its share of the 1797 digits. The shares are the same in every class."""

MAX_PIXELS = 2**31
"""The largest number of pixels of all images of a split together. All are rendered at once, at four bytes a pixel."""

_NUM_DIGIT_PARAMETERS = 16
_FINE = 80


class DigitArrays(NamedTuple):
    """A rendered data set.

    Attributes:
        images: (N, 3, S, S) uint8, the images.
        labels: (N,) int64, the digit in each image.
        masks: (N, S, S) bool, true on the digit.
        textures: (N,) int64, the number of the texture in `textures.PATTERNS`; c is the texture of class c.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor
    textures: Tensor


class DigitsOnTextures:
    """Handwritten digits drawn over generated textures.

    The digits are the 1797 digits of 8x8 pixels from UCI that scikit-learn contains. A known digit c stands on texture
    c with probability `prior`, and otherwise on the texture of another known class, each equally often. An unknown
    digit stands on the texture of any known class, each equally often. The place, size, slant and colour of the digit,
    and everything about the texture except its kind, are drawn at random. The draw for an image depends only on (seed,
    split, position), so other options do not change it. The division of the digits into splits never changes: no digit
    is ever in two splits, whatever the seeds.

    Args:
        split: "train" (1078 digits), "val" (269) or "test" (450); 60, 15 and 25 % of each class.
        prior: The rate, in 0..1, at which a known digit has the texture of its own class. At 1 / number of known
            classes, texture and class are independent.
        image_size: The side of an image in pixels, at least 16.
        contrast: The mean difference in brightness between a digit and its texture, in 0.05..0.45, where black to white
            is 1. Single images differ from it by up to a fifth. With a lower contrast, the texture is easier to
            recognise than the digit.
        seed: The seed of the rendering.
        copies: The number of different renderings of each digit.
        known: The classes that have a texture of their own.

    Attributes:
        classes: The names of the classes, "0" to "9".
        labels: (N,) int64, the digit in each image.

    Raises:
        DataError: If an option is outside its range.
    """

    def __init__(
        self,
        split: str = "train",
        *,
        prior: float = 0.8,
        image_size: int = 32,
        contrast: float = CONTRAST,
        seed: int = 0,
        copies: int = 1,
        known: Sequence[str] = DEFAULT_KNOWN,
    ) -> None:
        if split not in SPLITS:
            raise DataError(f"the digits have the splits {', '.join(SPLITS)}; got {split!r}")
        if not 0 <= prior <= 1:
            raise DataError(f"prior is a rate and must be in 0..1; got {prior}")
        if image_size < 16:
            raise DataError(f"image_size must be at least 16, or the digits cannot be read; got {image_size}")
        if not 0.05 <= contrast <= 0.45:
            raise DataError(f"contrast is a difference in brightness and must be in 0.05..0.45; got {contrast}")
        if seed < 0 or copies < 1:
            raise DataError(f"seed must be at least 0 and copies at least 1; got seed {seed}, copies {copies}")
        if copies * image_size**2 * 1797 * SPLITS[split] > MAX_PIXELS:
            raise DataError(
                f"all images of a split together have at most {MAX_PIXELS:,} pixels, because they are kept in memory; "
                f"got copies {copies} and image_size {image_size}, so give smaller ones"
            )
        strange = [name for name in known if name not in CLASSES]
        if strange or not known or len(set(known)) != len(known):
            raise DataError(f"known must be different digits, at least one, such as '012345'; got {list(known)}")
        self.split, self.prior, self.image_size, self.seed, self.copies = split, prior, image_size, seed, copies
        self.contrast = contrast
        self.known = tuple(sorted(known))
        self.classes = list(CLASSES)
        self._digits, numbers = _digits_of(split)
        self._digits = np.tile(self._digits, (copies, 1, 1))
        self.labels = torch.from_numpy(np.tile(numbers, copies))

    def __len__(self) -> int:
        """Return the number of images: the digits of the split times the copies."""
        return len(self.labels)

    def arrays(self) -> DigitArrays:
        """Return all images at once. They are rendered on first use and kept."""
        return self._rendered

    def read(self, i: int) -> Image.Image:
        """See `ImageSource.read`."""
        image = self._rendered.images[check_position(i, len(self))]
        return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())

    def read_mask(self, i: int) -> Image.Image:
        """See `ImageSource.read_mask`."""
        mask = self._rendered.masks[check_position(i, len(self))]
        return Image.fromarray(mask.numpy().astype(np.uint8) * 255)

    def name(self, i: int) -> str:
        """See `ImageSource.name`."""
        texture = list(PATTERNS)[int(self._rendered.textures[check_position(i, len(self))])]
        return f"digits:{self.split}[{i}] ({self.classes[int(self.labels[i])]} on {texture})"

    @cached_property
    def _rendered(self) -> DigitArrays:
        split = list(SPLITS).index(self.split)
        drawn = np.stack(
            [
                np.random.default_rng([self.seed, split, i]).random(_NUM_DIGIT_PARAMETERS + NUM_PARAMETERS)
                for i in range(len(self))
            ]
        )
        parts = []
        for start in range(0, len(self), 256):  # Rendering in parts takes less memory, and a part fits in the cache.
            rows = slice(start, start + 256)
            parts.append(self._render(self._digits[rows], self.labels[rows].numpy(), drawn[rows]))
        images, masks, textures = (torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True))
        return DigitArrays(images, self.labels, masks, textures)

    def _render(
        self, digits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], drawn: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        own, common = drawn[:, :_NUM_DIGIT_PARAMETERS], drawn[:, _NUM_DIGIT_PARAMETERS:]
        textures = _choose_textures(labels, [int(name) for name in self.known], self.prior, own[:, 0], own[:, 1])
        ground, light = draw_textures(textures, common, self.image_size)
        ink = _draw_strokes(digits, own[:, 2:8], self.image_size)[..., None]
        colour = _stroke_colours(light, own[:, 8:12], self.contrast)[:, None, None]
        picture = ground * (1 - ink) + colour * ink
        images = np.rint(np.clip(picture, 0.0, 1.0) * 255).astype(np.uint8)
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), ink[..., 0] > 0.5, textures


def _digits_of(split: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the (N, 8, 8) digits of a split, in 0..1, and their (N,) numbers, in mixed order."""
    from sklearn.datasets import load_digits

    data = load_digits()
    numbers = data.target.astype(np.int64)
    # This is the only random choice that no option changes.
    order = np.random.default_rng(20_240_706).permutation(len(numbers))
    shares = np.cumsum([0.0, *SPLITS.values()])
    at = list(SPLITS).index(split)
    chosen = np.zeros(len(numbers), dtype=bool)
    for number in range(10):
        members = order[numbers[order] == number]
        first, last = np.rint(shares[at : at + 2] * len(members)).astype(int)
        chosen[members[first:last]] = True
    mixed = order[chosen[order]]
    return data.images[mixed] / 16, numbers[mixed]


def _choose_textures(
    labels: npt.NDArray[np.int64],
    known: list[int],
    prior: float,
    keep: npt.NDArray[np.float64],
    which: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    """Choose the texture of each image.

    A known digit gets the texture of its class if keep < prior, and otherwise the texture of another known class. An
    unknown digit gets the texture of any known class.
    """
    kinds = np.array(known, dtype=np.int64)
    place = np.full(10, -1)
    place[kinds] = np.arange(len(kinds))
    own = place[labels]
    anything = np.floor(which * len(kinds)).astype(np.int64)
    other = (own + 1 + np.floor(which * (len(kinds) - 1)).astype(np.int64)) % len(kinds)
    chosen = np.where(own < 0, anything, np.where(keep < prior, own, other))
    picked: npt.NDArray[np.int64] = kinds[chosen]
    return picked


def _draw_strokes(
    digits: npt.NDArray[np.float64], parameters: npt.NDArray[np.float64], size: int
) -> npt.NDArray[np.float64]:
    """Return the ink of each digit on each pixel, (N, size, size) in 0..1; place, size and slant are random."""
    fine = _enlarge(digits)
    x, y, scale, turn, slant, thickness = parameters.T[:, :, None, None]
    box = (0.62 + 0.2 * scale) * (_FINE / 64)
    free = 1.05 - box
    centres = (np.arange(size, dtype=np.float64) + 0.5) / size - 0.5
    across = centres[None, None, :] - (x - 0.5) * free
    down = centres[None, :, None] - (y - 0.5) * free
    angle = (turn - 0.5) * 0.4
    right = (np.cos(angle) * across + np.sin(angle) * down) / box
    below = (np.cos(angle) * down - np.sin(angle) * across) / box
    right = right + (slant - 0.5) * 0.3 * below
    value = _sample(fine, below, right)
    # An edge is about one pixel wide at image size 32. The threshold makes strokes thinner or bolder.
    ink: npt.NDArray[np.float64] = np.clip((value - (0.54 - 0.13 * thickness)) / 0.22 + 0.5, 0.0, 1.0)
    return ink


def _enlarge(digits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Enlarge (N, 8, 8) digits to (N, 80, 80) by cubic convolution (Keys 1981, a = -0.5), which gives smooth strokes.

    One empty pixel is put around the digit first, so that strokes which touch its edge have round ends.
    """
    at = np.abs((np.arange(_FINE)[:, None] + 0.5) / 8 - 1.5 - np.arange(8))
    near = 1.5 * at**3 - 2.5 * at**2 + 1
    far = -0.5 * at**3 + 2.5 * at**2 - 4 * at + 2
    weights = np.where(at < 1, near, np.where(at < 2, far, 0.0))
    fine: npt.NDArray[np.float64] = weights @ digits @ weights.T
    return fine


def _sample(
    fine: npt.NDArray[np.float64], below: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Read pictures (N, _FINE, _FINE), which span -0.5..0.5, at (N, S, S) points, bilinearly; they are 0 outside."""
    padded = np.pad(fine, ((0, 0), (1, 1), (1, 1)))
    row = np.clip((below + 0.5) * _FINE + 0.5, 0.0, _FINE + 0.999)
    column = np.clip((right + 0.5) * _FINE + 0.5, 0.0, _FINE + 0.999)
    top, left = row.astype(np.int64), column.astype(np.int64)
    s, t = column - left, row - top
    n = np.arange(len(fine))[:, None, None]
    upper = padded[n, top, left] * (1 - s) + padded[n, top, left + 1] * s
    lower = padded[n, top + 1, left] * (1 - s) + padded[n, top + 1, left + 1] * s
    value: npt.NDArray[np.float64] = upper * (1 - t) + lower * t
    return value


def _stroke_colours(
    light: npt.NDArray[np.float64], parameters: npt.NDArray[np.float64], contrast: float
) -> npt.NDArray[np.float64]:
    """Return colours (N, 3) that are lighter or darker than the texture by about `contrast`.

    Lighter and darker strokes cover nearly the same range of brightness.
    """
    side, clearness, hue, strength = parameters.T
    away = contrast * (0.8 + 0.4 * clearness)
    # Lighter or darker is random, unless only one of them fits into the range.
    lighter = side < np.clip((0.62 - light) / 0.24, 0.0, 1.0)
    brightness = np.clip(light + np.where(lighter, away, -away), 0.03, 0.97)
    colours: npt.NDArray[np.float64] = brightness[:, None] + chroma(hue, 0.05 + 0.1 * strength)
    return colours
