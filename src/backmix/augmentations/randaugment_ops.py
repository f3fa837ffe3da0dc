"""The 16 operations of RandAugment in the variant of the closed-set paper, each on a batch of 8-bit images."""

from __future__ import annotations

from collections.abc import Callable
from math import atan, degrees

import torch
from torch import Tensor

RANGES: dict[str, tuple[float, float]] = {
    "autocontrast": (0, 1),
    "equalize": (0, 1),
    "invert": (0, 1),
    "rotate": (0, 30),  # degrees
    "posterize": (0, 4),  # bits that are kept, at least one
    "solarize": (0, 256),  # pixels of at least this value are inverted
    "solarize-add": (0, 110),  # this value is added, then pixels of at least 128 are inverted
    "colour": (0.1, 1.9),
    "contrast": (0.1, 1.9),
    "brightness": (0.1, 1.9),
    "sharpness": (0.1, 1.9),
    "shear-x": (0, 0.3),
    "shear-y": (0, 0.3),
    "cutout": (0, 40),  # pixels
    "translate-x": (0, 100),  # pixels
    "translate-y": (0, 100),  # pixels
}
"""The value of each operation at strength 0 and at strength 30, as in Vaze et al. (ICLR 2022)."""

MOVING = ("rotate", "shear-x", "shear-y", "translate-x", "translate-y")
"""The operations that move objects; these have two directions."""

PIXEL_RANGES = ("cutout", "translate-x", "translate-y")
"""The operations whose value is a number of pixels."""

CUTOUT_COLOUR = (125, 123, 114)


def operate(name: str, images: Tensor, value: float, place: Tensor) -> Tensor:
    """Apply an operation to each image of a batch.

    Args:
        name: The name of the operation, as in `RANGES`.
        images: The images, (B, 3, H, W) uint8.
        value: The value of the operation, in its unit. A positive value turns counterclockwise and moves objects left
            or up; a negative value acts in the other direction. "autocontrast", "equalize" and "invert" ignore it.
        place: The row and column of the centre of the square, (2, B) float in 0..1. Only "cutout" uses it.

    Returns:
        The changed images, (B, 3, H, W) uint8, a new tensor. Moved images take the nearest pixels, and are black
        outside the original image.
    """
    # The import takes a second, so it happens only when an operation is used.
    import torchvision.transforms.v2.functional as F

    operations: dict[str, Callable[[], Tensor]] = {
        "autocontrast": lambda: F.autocontrast(images),
        "equalize": lambda: F.equalize(images),
        "invert": lambda: F.invert(images),
        "rotate": lambda: F.rotate(images, value),
        "posterize": lambda: F.posterize(images, max(1, int(value))),
        "solarize": lambda: _solarize(images, value),
        "solarize-add": lambda: _solarize((images.int() + int(value)).clamp(max=255).to(torch.uint8), 128),
        "colour": lambda: F.adjust_saturation(images, value),
        "contrast": lambda: F.adjust_contrast(images, value),
        "brightness": lambda: F.adjust_brightness(images, value),
        "sharpness": lambda: F.adjust_sharpness(images, value),
        "shear-x": lambda: F.affine(images, 0, [0, 0], 1.0, [degrees(atan(value)), 0], center=[0, 0]),
        "shear-y": lambda: F.affine(images, 0, [0, 0], 1.0, [0, degrees(atan(value))], center=[0, 0]),
        "cutout": lambda: _cutout(images, value, place),
        "translate-x": lambda: F.affine(images, 0, [-value, 0], 1.0, [0, 0]),
        "translate-y": lambda: F.affine(images, 0, [0, -value], 1.0, [0, 0]),
    }
    return operations[name]()


def _solarize(images: Tensor, threshold: float) -> Tensor:
    # torchvision refuses a threshold of 256, which inverts nothing. As a uint8 it would wrap around to 0.
    return torch.where(images < float(threshold), images, 255 - images)


def _cutout(images: Tensor, side: float, place: Tensor) -> Tensor:
    """Fill a square around a place. At the top and left it is moved inside; at the bottom and right it is cut off."""
    height, width = images.shape[2:]
    size = torch.tensor([height, width], device=images.device)[:, None]
    top, left = (place * size - side / 2).clamp_min(0).floor()[:, :, None].unbind(0)
    y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    down, across = (y >= top) & (y <= top + side), (x >= left) & (x <= left + side)
    colour = torch.tensor(CUTOUT_COLOUR, dtype=torch.uint8, device=images.device)[:, None, None]
    return torch.where((down[:, :, None] & across[:, None, :])[:, None], colour, images)
