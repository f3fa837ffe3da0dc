"""Edges that are no cue: masks that are grown, and that fade over a few pixels instead of ending at one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def edge_width(size: int) -> int:
    """Pixels over which an edge fades in images of side `size`: one for every 64, at least one."""
    return max(1, round(size / 64))


def grow(masks: Tensor, by: int) -> Tensor:
    """Masks (B, S, S) bool and all pixels at most `by` rows and columns away from them."""
    if by == 0:
        return masks
    # Rows first, then columns: a square window at once costs as much as its area.
    rows = F.max_pool2d(masks[:, None].float(), (2 * by + 1, 1), stride=1, padding=(by, 0))
    return F.max_pool2d(rows, (1, 2 * by + 1), stride=1, padding=(0, by))[:, 0] > 0


def soft_edge(masks: Tensor, width: int) -> Tensor:
    """How opaque each pixel of an object is when it is laid over something else.

    The object is kept whole, thin parts of it too: it is 1 on the mask. Outside it is the share of mask among the
    (2 width + 1)^2 pixels around, which starts near a half and is 0 from `width` pixels on.

    Args:
        masks: (B, S, S) bool.
        width: in pixels, at least 1.

    Returns:
        (B, S, S) float32 in 0..1.
    """
    side = 2 * width + 1
    rows = F.avg_pool2d(masks[:, None].float(), (side, 1), stride=1, padding=(width, 0), count_include_pad=False)
    share = F.avg_pool2d(rows, (1, side), stride=1, padding=(0, width), count_include_pad=False)[:, 0]
    return torch.where(masks, 1.0, share)
