"""The prior of the middle: where an object is expected before the picture is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SHARE = 0.25
"""The share of the picture that `centre_mask` covers; BackMix masks the same share."""


def centre_prior(height: int, width: int, *, spread: float = 0.4) -> npt.NDArray[np.float64]:
    """Return a Gaussian of the distance to the middle, (height, width), near 1 in the middle.

    Args:
        height: The height of the map, in pixels.
        width: The width of the map, in pixels.
        spread: The standard deviation of the Gaussian, as a share of each side.
    """
    down = (np.arange(height) + 0.5) / height - 0.5
    across = (np.arange(width) + 0.5) / width - 0.5
    prior: npt.NDArray[np.float64] = np.exp(-(down[:, None] ** 2 + across**2) / (2 * spread**2))
    return prior


def centre_mask(height: int, width: int) -> npt.NDArray[np.bool_]:
    """Mark the quarter of all pixels that is nearest to the middle, at least one pixel: (height, width) bool."""
    order = np.argsort(-centre_prior(height, width), axis=None, kind="stable")
    mask = np.zeros(height * width, dtype=bool)
    mask[order[: max(1, round(SHARE * height * width))]] = True
    return mask.reshape(height, width)
