"""The 16 operations of RandAugment in the closed-set paper's variant, each on a batch of 8-bit images."""

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
    "solarize": (0, 256),  # pixels from here on are inverted
    "solarize-add": (0, 110),  # is added; then pixels from 128 on are inverted
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
"""Value of each operation at strength 0 and at strength 30, as Vaze et al. (ICLR 2022) train with."""

MOVING = ("rotate", "shear-x", "shear-y", "translate-x", "translate-y")
"""Operations after which things are no longer where they were; these have two directions."""

PIXEL_RANGES = ("cutout", "translate-x", "translate-y")
"""Operations whose value is a number of pixels."""

CUTOUT_COLOUR = (125, 123, 114)


def operate(name: str, images: Tensor, value: float, place: Tensor) -> Tensor:
    """Apply an operation to each image of a batch.

    Args:
        name: as in `RANGES`.
        images: (B, 3, H, W) uint8.
        value: in the operation's unit; negative: the other direction; positive turns
            counterclockwise and moves things left or up. "autocontrast", "equalize" and "invert" have no strength.
        place: (2, B) float in 0..1, for "cutout" alone: row and column of the square's centre.

    Returns:
        (B, 3, H, W) uint8, a new tensor. Nearest pixels, black where nothing was.
    """
    # Takes a second to import, which those who do without it shall not wait for.
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
    # torchvision's refuses a threshold of 256, which inverts nothing; as an integer it would wrap around to 0.
    return torch.where(images < float(threshold), images, 255 - images)


def _cutout(images: Tensor, side: float, place: Tensor) -> Tensor:
    """Fill a square around a place; towards top and left it is pushed inside, towards bottom and right cut off."""
    height, width = images.shape[2:]
    size = torch.tensor([height, width], device=images.device)[:, None]
    top, left = (place * size - side / 2).clamp_min(0).floor()[:, :, None].unbind(0)
    y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    down, across = (y >= top) & (y <= top + side), (x >= left) & (x <= left + side)
    colour = torch.tensor(CUTOUT_COLOUR, dtype=torch.uint8, device=images.device)[:, None, None]
    return torch.where((down[:, :, None] & across[:, None, :])[:, None], colour, images)
