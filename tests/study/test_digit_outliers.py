"""Outliers for the digits: textures without digits, and digits that are none."""

import numpy as np
import torch

from backmix.data.digits import DigitsOnTextures
from backmix.study.digit_outliers import ScrambledDigits, TexturesAlone, _scrambled


def test_textures_alone_are_the_textures_without_a_digit():
    digits, alone = DigitsOnTextures("val", seed=3).arrays(), TexturesAlone("val", seed=3).arrays()
    assert not alone.masks.any() and torch.equal(alone.textures, digits.textures)
    # Where there is no ink at all the picture is as it was.
    far = torch.nn.functional.max_pool2d(digits.masks[:, None].float(), 7, 1, 3)[:, 0] == 0
    same = (digits.images == alone.images).all(1)
    assert same[far].float().mean() > 0.99 and not same[digits.masks].all()


def test_scrambled_digits_have_the_ink_and_no_quarter_at_its_place():
    digit = np.arange(64.0).reshape(8, 8)
    for i in range(50):
        made = _scrambled(digit, i)
        assert np.array_equal(np.sort(made.ravel()), digit.ravel())
        assert np.array_equal(made, _scrambled(digit, i))
        for row in (0, 4):
            for column in (0, 4):
                place = slice(row, row + 4), slice(column, column + 4)
                assert not np.array_equal(made[place], digit[place])


def test_scrambled_pictures_differ_from_digits():
    digits, scrambled = DigitsOnTextures("val", seed=0), ScrambledDigits("val", seed=0)
    assert len(digits) == len(scrambled) and scrambled.arrays().masks.flatten(1).any(1).all()
    assert (digits.arrays().masks != scrambled.arrays().masks).flatten(1).any(1).float().mean() > 0.98
