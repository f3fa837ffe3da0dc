"""Colours of the page: everything that is read can be read, in the light, in the dark and in print."""

import re
from pathlib import Path

import pytest

import backmix.pages

CSS = (Path(backmix.pages.__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
BLOCKS = [
    dict(re.findall(r"--([\w-]+):\s*([^;]+);", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
]
LIGHT, DARK, PRINT = BLOCKS[0], {**BLOCKS[0], **BLOCKS[1]}, {**BLOCKS[0], **BLOCKS[2]}
SCHEMES = pytest.mark.parametrize("colours", [LIGHT, DARK, PRINT], ids=["light", "dark", "print"])


def rgb(text):
    if text.startswith("#"):
        digits = text[1:] if len(text) == 7 else "".join(2 * digit for digit in text[1:])
        return [int(digits[k : k + 2], 16) for k in (0, 2, 4)]
    return [int(part) for part in text.split()]


def brightness(colour):
    linear = [
        (part / 255 / 12.92) if part / 255 <= 0.04045 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted([brightness(one), brightness(other)])
    return (high + 0.05) / (low + 0.05)


@SCHEMES
@pytest.mark.parametrize("ground", ["paper", "surface", "soft"])
@pytest.mark.parametrize("ink", ["ink", "muted", "link", "right", "unknown-text", "wrong"])
def test_text_has_a_contrast_of_4_5(colours, ground, ink):
    assert contrast(rgb(colours[ink]), rgb(colours[ground])) >= 4.5


@SCHEMES
@pytest.mark.parametrize("mark", ["right", "unknown", "wrong"])
def test_bars_have_a_contrast_of_3(colours, mark):
    assert contrast(rgb(colours[mark]), rgb(colours["paper"])) >= 3
    assert contrast(rgb(colours[mark]), rgb(colours["surface"])) >= 3


@SCHEMES
@pytest.mark.parametrize("kind", ["right", "unknown", "wrong"])
def test_numbers_can_be_read_on_the_deepest_cell(colours, kind):
    deep, ground = float(colours["deepest"]), rgb(colours["surface"])
    cell = [deep * a + (1 - deep) * b for a, b in zip(rgb(colours[f"{kind}-cell"]), ground)]
    assert contrast(rgb(colours["ink"]), cell) >= 4.5


@SCHEMES
def test_the_three_kinds_differ_for_those_who_see_no_red_or_no_green(colours):
    # Machado, Oliveira and Fernandes 2009, severity 1: protanopia and deuteranopia.
    blind = [
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ]
    marks = [rgb(colours[mark]) for mark in ("right", "unknown", "wrong")]
    for matrix in blind:
        seen = [[sum(a * b for a, b in zip(row, mark)) for row in matrix] for mark in marks]
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert sum((a - b) ** 2 for a, b in zip(seen[one], seen[other])) ** 0.5 > 50


def test_the_style_fetches_nothing():
    assert "url(" not in CSS and "@import" not in CSS and "http" not in CSS
    assert "prefers-color-scheme: dark" in CSS and "prefers-reduced-motion" in CSS and "@media print" in CSS
