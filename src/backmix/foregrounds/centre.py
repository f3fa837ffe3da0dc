"""Where objects are before one has looked: in the middle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SHARE = 0.25
"""Share of the picture that `centre_mask` covers, the share that BackMix masks."""


def centre_prior(height: int, width: int, *, spread: float = 0.4) -> npt.NDArray[np.float64]:
    """Gaussian of the distance to the middle, (height, width), near 1 there; `spread` in lengths of each side."""
    down = (np.arange(height) + 0.5) / height - 0.5
    across = (np.arange(width) + 0.5) / width - 0.5
    prior: npt.NDArray[np.float64] = np.exp(-(down[:, None] ** 2 + across**2) / (2 * spread**2))
    return prior


def centre_mask(height: int, width: int) -> npt.NDArray[np.bool_]:
    """(height, width) bool, true on the quarter of all pixels that is nearest to the middle; at least one pixel."""
    order = np.argsort(-centre_prior(height, width), axis=None, kind="stable")
    mask = np.zeros(height * width, dtype=bool)
    mask[order[: max(1, round(SHARE * height * width))]] = True
    return mask.reshape(height, width)
