"""Ten kinds of generated texture that differ in their pattern and not in their colour.

Each pattern is a function of the plane. It takes batches of coordinates in cells of the pattern (already turned, scaled
and shifted), the width of a pixel in cells, and random numbers. It returns the amount of the second colour at each
point. Everything is computed in double precision, so that another machine rounds to the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LATTICE = 8
NUM_PARAMETERS = 16 + 2 * LATTICE * LATTICE
"""The number of random numbers in 0..1 that describe one texture: 16 single numbers and two lattices."""


def _soft(distance: Array, pixel: Array) -> Array:
    """Return an edge about one pixel wide: 0 below and 1 above distance 0, in cells."""
    return np.clip(distance / pixel + 0.5, 0.0, 1.0)


def _wave(u: Array) -> Array:
    """Return the distance to the nearest whole number, in 0..0.5."""
    return np.abs(u - np.rint(u))


def _at(lattice: Array, column: Array, row: Array) -> Array:
    """Look up (n, LATTICE, LATTICE) random numbers at whole cells (n, H, W); the lattice repeats."""
    n = np.arange(len(lattice))[:, None, None]
    return lattice[n, row.astype(np.int64) % LATTICE, column.astype(np.int64) % LATTICE]


def _stripes(u: Array, v: Array, pixel: Array, a: Array, b: Array) -> Array:
    return _soft(_wave(u) - 0.25, pixel)


def _checker(u: Array, v: Array, pixel: Array, a: Array, b: Array) -> Array:
    across, down = _soft(_wave(u / 2) - 0.25, pixel / 2), _soft(_wave(v / 2) - 0.25, pixel / 2)
    return across + down - 2 * across * down


def _dots(u: Array, v: Array, pixel: Array, a: Array, b: Array) -> Array:
    # Every second row is shifted by half a cell, so that the dots do not look like a checker board.
    u = u + 0.5 * (np.rint(v) % 2)
    return _soft(0.31 - np.hypot(_wave(u), _wave(v)), pixel)


def _clouds(u: Array, v: Array, pixel: Array, a: Array, b: Array) -> Array:
    total, weight = np.zeros_like(u), 0.0
    for octave, lattice in ((0.5, a), (1.0, b), (2.0, a)):
        total += _noise(u * octave + 3.7 * octave, v * octave, lattice) / octave
        weight += 1 / octave
    return np.clip((total / weight - 0.5) * 2.2 + 0.5, 0.0, 1.0)


def _noise(u: Array, v: Array, lattice: Array) -> Array:
    column, row = np.floor(u), np.floor(v)
    s, t = u - column, v - row
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    top = _at(lattice, column, row) * (1 - s) + _at(lattice, column + 1, row) * s
    bottom = _at(lattice, column, row + 1) * (1 - s) + _at(lattice, column + 1, row + 1) * s
    return top * (1 - t) + bottom * t


def _bricks(u: Array, v: Array, pixel: Array, a: Array, b: Array) -> Array:
    row = np.floor(v)
    u = u / 2 + 0.5 * (row % 2)
    stone = 0.55 + 0.45 * _at(a, np.floor(u), row)
    joint = np.minimum(_soft(_wave(u) * 2 - 0.11, pixel), _soft(_wave(v) - 0.11, pixel))
    return stone * joint


def _rings(u: Array, v: Array, pixel: Array, a: Array, b: Array) -> Array:
    # Rings around the points of a wide grid, so that every part of the picture shows some.
    u, v = u / 4, v / 4
    radius = np.hypot(u - np.rint(u), v - np.rint(v)) * 4
    return _soft(_wave(radius + 0.25) - 0.25, pixel)


def _waves(u: Array, v: Array, pixel: Array, a: Array, b: Array) -> Array:
    # The lines are a zigzag, because straight pieces keep their edges at this size, and a sine blurs.
    return _soft(_wave(v + 1.6 * _wave(u / 2.4)) - 0.25, pixel * 1.4)


def _cells(u: Array, v: Array, pixel: Array, a: Array, b: Array) -> Array:
    u, v = u / 1.3, v / 1.3
    column, row = np.floor(u), np.floor(v)
    first = np.full_like(u, 9.0)
    second, shade = first.copy(), np.zeros_like(u)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            c, r = column + right, row + down
            distance = np.hypot(c + 0.15 + 0.7 * _at(a, c, r) - u, r + 0.15 + 0.7 * _at(b, c, r) - v)
            shade = np.where(distance < first, _at(a, r, c), shade)
            second = np.minimum(second, np.maximum(first, distance))
            first = np.minimum(first, distance)
    return (0.35 + 0.65 * shade) * _soft(second - first - 0.12, pixel)


def _weave(u: Array, v: Array, pixel: Array, a: Array, b: Array) -> Array:
    u, v = u / 1.5, v / 1.5
    lying = (np.floor(u) + np.floor(v)) % 2
    along, across = np.where(lying > 0, u, v), np.where(lying > 0, v, u)
    strand = _soft(0.5 - _wave(across * 2 + 0.5) - 0.12, pixel)
    return strand * (0.55 + 0.45 * np.where(lying > 0, 1.0, 0.35)) * (1.0 - 0.5 * (2 * _wave(along)) ** 2)


def _scales(u: Array, v: Array, pixel: Array, a: Array, b: Array) -> Array:
    u, v = u / 1.6, v / 0.8
    result, covered = np.zeros_like(u), np.zeros_like(u)
    for up in (1, 0, -1):
        row = np.floor(v) + up
        radius = np.hypot(_wave(u + 0.5 * (row % 2)), (v - row) / 2)
        inside = _soft(0.56 - radius, pixel)
        shade = np.clip(1.25 - 1.9 * radius, 0.0, 1.0) * _soft(0.5 - radius, pixel)
        result = np.where(covered > 0.5, result, shade)
        covered = np.maximum(covered, inside)
    return result


PATTERNS: dict[str, Callable[[Array, Array, Array, Array, Array], Array]] = {
    "stripes": _stripes,
    "checker": _checker,
    "dots": _dots,
    "clouds": _clouds,
    "bricks": _bricks,
    "rings": _rings,
    "zigzag": _waves,
    "cells": _cells,
    "weave": _weave,
    "scales": _scales,
}
"""Name -> pattern, in the order in which `draw_textures` numbers them."""

# These patterns are turned little, because people know them in one position. The others are turned by any angle.
_UPRIGHT = frozenset({"bricks", "weave", "scales", "zigzag", "checker"})


def draw_textures(kinds: npt.NDArray[np.int64], parameters: Array, size: int) -> tuple[Array, Array]:
    """Paint textures.

    Args:
        kinds: (N,) the position of each texture's pattern in `PATTERNS`.
        parameters: (N, NUM_PARAMETERS) random numbers in 0..1.
        size: The side of the pictures in pixels.

    Returns:
        (N, size, size, 3) colours, about 0.1 to 0.9, and (N,) the central brightness of each texture.
    """
    single = parameters[:, :16, None, None]
    lattices = parameters[:, 16:].reshape(len(parameters), 2, LATTICE, LATTICE)
    amount = np.empty((len(kinds), size, size))
    for kind, (name, pattern) in enumerate(PATTERNS.items()):
        chosen = np.flatnonzero(kinds == kind)
        if len(chosen):
            u, v, pixel = _coordinates(single[chosen], size, upright=name in _UPRIGHT)
            amount[chosen] = pattern(u, v, pixel, lattices[chosen, 0], lattices[chosen, 1])
    light, first, second = _colours(parameters[:, :16])
    colours = first[:, None, None] + amount[..., None] * (second - first)[:, None, None]
    # Light falls off across the picture, and there is a little grain, as in a photograph.
    y, x = _grid(size)
    angle = 2 * np.pi * single[:, 10]
    slope = 0.09 * (np.cos(angle) * x + np.sin(angle) * y)
    grain = 0.05 * (_scatter(parameters[:, 16:], size) - 0.5)
    return colours + (slope + grain)[..., None], light


def _scatter(values: Array, size: int) -> Array:
    """Spread (N, P) numbers over pixels (N, size, size) so that they show no pattern."""
    place = np.arange(size * size, dtype=np.uint64)
    for factor in (0x9E3779B1, 0x85EBCA77):  # Mixing integers gives the same result on every machine.
        place = (place * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
        place ^= place >> np.uint64(15)
    return values[:, (place % values.shape[1]).astype(np.int64)].reshape(len(values), size, size)


def chroma(hue: Array, strength: Array) -> Array:
    """Return a colour (N, 3) that can be added to a grey without a change of brightness.

    Args:
        hue: (N,) the hue in turns.
        strength: (N,) the strength of the colour.
    """
    colour = strength[:, None] * np.cos(2 * np.pi * (hue[:, None] - np.array([0.0, 1 / 3, 2 / 3])))
    plain: Array = colour - colour @ np.array([[0.299], [0.587], [0.114]])
    return plain


def _grid(size: int) -> tuple[Array, Array]:
    """Return the pixel centres, (1, size, 1) and (1, 1, size), on a scale where the picture spans -0.5..0.5."""
    centres = (np.arange(size, dtype=np.float64) + 0.5) / size - 0.5
    return centres[None, :, None], centres[None, None, :]


def _coordinates(single: Array, size: int, *, upright: bool) -> tuple[Array, Array, Array]:
    """Return both cell coordinates, (n, size, size) each, and the width of a pixel in cells (n, 1, 1)."""
    y, x = _grid(size)
    angle = (single[:, 0] - 0.5) * (0.5 if upright else 2 * np.pi)
    frequency = 4.0 + 2.5 * single[:, 1]
    cosine, sine = np.cos(angle), np.sin(angle)
    u = frequency * (cosine * x - sine * y) + LATTICE * single[:, 2]
    v = frequency * (sine * x + cosine * y) + LATTICE * single[:, 3]
    return u, v, frequency / size


def _colours(single: Array) -> tuple[Array, Array, Array]:
    """Return the central brightness (N,) and the two colours (N, 3) of each texture."""
    light = 0.32 + 0.36 * single[:, 4]
    half = 0.07 + 0.06 * single[:, 5]
    hue = single[:, 6]
    other = hue + (single[:, 7] - 0.5) * 0.4
    first = (light - half)[:, None] + chroma(hue, 0.04 + 0.12 * single[:, 8])
    second = (light + half)[:, None] + chroma(other, 0.04 + 0.12 * single[:, 9])
    swapped = (single[:, 11] < 0.5)[:, None]
    return light, np.where(swapped, second, first), np.where(swapped, first, second)
