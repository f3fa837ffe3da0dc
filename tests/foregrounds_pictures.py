"""Pictures whose object is known."""

import numpy as np
from PIL import Image


def square_on_gradient(size=(64, 64), side=24, at=(20, 22)):
    """A bright square on a smooth slope of dark colours, and its mask."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    pixels = np.stack([40 + 50 * x, 60 + 40 * y, 80 + 20 * x * y], -1)
    mask = np.zeros((height, width), dtype=bool)
    mask[at[0] : at[0] + side, at[1] : at[1] + side] = True
    pixels[mask] = (230, 210, 90)
    return Image.fromarray(pixels.astype(np.uint8)), mask


def disc_on_stripes(size=48):
    """A red disc on stripes of two greens that differ more in brightness than the disc from one of them."""
    y, x = np.mgrid[:size, :size]
    pixels = np.where(((x + y) // 4 % 2 == 0)[..., None], (60, 120, 60), (150, 220, 150))
    pixels = pixels + np.random.default_rng(0).normal(0, 4, pixels.shape)
    mask = np.hypot(y - size * 0.45, x - size * 0.55) < size * 0.22
    pixels[mask] = (200, 60, 50)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), mask


def overlap(first, second):
    return (first & second).sum() / (first | second).sum()
