"""What several augmentations refuse, in the same words."""

from __future__ import annotations

from torch import Tensor


def check_images(name: str, images: Tensor) -> None:
    """Raise ValueError, with the augmentation's name, unless images are (B, C, H, W) float."""
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f"{name} takes normalised images (B, C, H, W) float; got {tuple(images.shape)} {images.dtype}")


def check_probability(name: str, probability: float) -> None:
    """Raise ValueError, with the augmentation's name, unless this is a probability."""
    if not 0 <= probability <= 1:
        raise ValueError(f"{name}: probability lies in 0..1; got {probability}")


def check_positive(name: str, option: str, value: float) -> None:
    """Raise ValueError, with the names of augmentation and option, unless value is above 0."""
    if not value > 0:
        raise ValueError(f"{name}: {option} is above 0; got {value}")
