"""The checks that refuse an option outside its range, and maps that say nothing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def check(fits: bool, message: str) -> None:
    """Raise ValueError with `message` unless `fits` is true."""
    if not fits:
        raise ValueError(message)


def check_cells(size: Sequence[int], foreground: str) -> None:
    """Raise ValueError if the maps that a foreground bank is fed with have one cell each.

    Args:
        size: The rows and columns of the maps.
        foreground: The source of the foreground, for the message.
    """
    if max(size) > 1:
        return
    raise ValueError(
        f"the feature map has one cell, so foreground={foreground!r} cannot tell an object from its background, and "
        "nothing would be mixed. Give larger images or a network that keeps a larger map (convolutional networks of "
        "timm take output_stride=8), or a foreground that needs no map: masks, centre or random"
    )


def shape_of(value: object) -> tuple[int, ...] | str:
    """Return the shape of a tensor, or the name of the type of something else."""
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
