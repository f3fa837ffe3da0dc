"""Outliers for the embedded digits: their textures with no digit on them, and digits put together wrongly."""

from __future__ import annotations

from typing import Any

import numpy as np

from backmix.data.digits import DigitsOnTextures


class TexturesAlone(DigitsOnTextures):
    """The textures of the digits without a digit. Options are those of `DigitsOnTextures`."""

    def __init__(self, split: str = "train", **options: Any) -> None:
        super().__init__(split, **options)
        self._digits = np.zeros_like(self._digits)


class ScrambledDigits(DigitsOnTextures):
    """Digits of known classes whose quarters change places: the same strokes on the same textures, and no digit.

    Which quarter goes where is drawn for each image; never do all stay. Options are those of `DigitsOnTextures`. Digits
    of unknown classes are scrambled too; take the known ones alone, as the others are for tests.
    """

    def __init__(self, split: str = "train", **options: Any) -> None:
        super().__init__(split, **options)
        self._digits = np.stack([_scrambled(digit, i) for i, digit in enumerate(self._digits)])


def _scrambled(digit: Any, i: int) -> Any:
    quarters = [digit[row : row + 4, column : column + 4] for row in (0, 4) for column in (0, 4)]
    random = np.random.default_rng([8_128, i])
    order = random.permutation(4)
    while (order == np.arange(4)).any():  # A quarter at its place may leave half of a digit as it was.
        order = random.permutation(4)
    first, second, third, last = (quarters[k] for k in order)
    return np.block([[first, second], [third, last]])
