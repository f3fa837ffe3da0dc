"""Remove the objects from pictures: each hole is filled with background from elsewhere in the same picture.

A hole of one colour, or a blurred one, would show the outline of the removed object and thereby tell its class. The
fill is therefore real background. The picture is shifted and laid under the hole. The shift is the one at which the
surroundings of the hole agree best and most of the hole is covered. The next shift fills the part that is left. Where
the two places differ in light or colour, the difference at the edge of the hole is continued smoothly into the hole.
The part that no shift covers takes the colours around it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WORKING_SIDE = 48
"""The side to which images are reduced to find the shift. Up to this size, the shift is exact to a pixel."""
ROUNDS = 6
"""The largest number of shifts for one image. Each shift covers as much as it can of the remaining hole."""
UNSEEN = 3 * 128**2
"""The cost of a pixel that a shift does not cover: that of a pixel that differs by 128 grey levels."""
RING = 2
"""The width of the ring around the hole that is compared, in pixels of the working size."""
CELLS = 16
"""The number of cells along each side of the grid on which differences of light and colour are smoothed."""
MOST_OFFSET = 48
"""The largest number of grey levels by which a fill is made lighter or darker."""


def without_object(images: Tensor, masks: Tensor) -> Tensor:
    """Replace each object by background of the same picture.

    The mask first grows by the width of an edge, so that no rim of the object is left. The fill then fades into the
    picture over the same width.

    Args:
        images: (B, 3, S, S) uint8.
        masks: (B, S, S) bool, true on the object.

    Returns:
        (B, 3, S, S) uint8, a new tensor.
    """
    width = edge_width(images.shape[-1])
    cover = grow(masks, width)
    return blend(fill_holes(images, grow(cover, width)), images, soft_edge(cover, width))


def blend(over: Tensor, under: Tensor, alpha: Tensor) -> Tensor:
    """Blend pictures over others, both (B, 3, S, S) uint8, with the opacity `alpha` (B, S, S) in 0..1.

    The result is rounded to whole grey levels.
    """
    first, second = over.float(), under.float()
    return torch.add(second, (first - second) * alpha[:, None]).round_().to(torch.uint8)


def edge_width(size: int) -> int:
    """Return the width of a soft edge in images of side `size`: one pixel for every 64, at least one."""
    return max(1, round(size / 64))


def grow(masks: Tensor, by: int) -> Tensor:
    """Grow masks (B, S, S) bool by all pixels that are at most `by` rows and columns away from them."""
    if by == 0:
        return masks
    # Rows first, then columns, because the cost of a square window grows with its area.
    rows = F.max_pool2d(masks[:, None].float(), (2 * by + 1, 1), stride=1, padding=(by, 0))
    return F.max_pool2d(rows, (1, 2 * by + 1), stride=1, padding=(0, by))[:, 0] > 0


def soft_edge(masks: Tensor, width: int) -> Tensor:
    """Return the opacity of each pixel of an object that is pasted over something else.

    The opacity is 1 on the mask, so that the object stays whole, thin parts included. Outside the mask it is the share
    of the mask among the (2 width + 1)^2 pixels around. This share starts near a half at the mask and is 0 farther
    than `width` pixels away.

    Args:
        masks: (B, S, S) bool.
        width: The width of the edge in pixels, at least 1.

    Returns:
        (B, S, S) float32 in 0..1.
    """
    side = 2 * width + 1
    rows = F.avg_pool2d(masks[:, None].float(), (side, 1), stride=1, padding=(width, 0), count_include_pad=False)
    share = F.avg_pool2d(rows, (1, side), stride=1, padding=(0, width), count_include_pad=False)[:, 0]
    return torch.where(masks, 1.0, share)


def fill_holes(images: Tensor, holes: Tensor) -> Tensor:
    """Fill holes with pixels from elsewhere in the same image.

    Args:
        images: (B, 3, S, S) uint8; pixels in the holes are not used, unless the hole covers the whole image.
        holes: (B, S, S) bool.

    Returns:
        (B, 3, S, S) uint8, a new tensor that equals the images outside the holes.
    """
    result, left = images.clone(), holes.clone()
    todo = _with_any(left)
    for _ in range(ROUNDS):
        if not len(todo):
            break
        shift, useful = best_shifts(result[todo], left[todo], holes[todo])
        todo, shift = todo[useful], shift[useful]
        now, hole = result[todo], left[todo]
        moved, seen = _shifted(images[todo], holes[todo], shift)
        taken = hole & seen
        around = F.adaptive_max_pool2d(taken.float(), CELLS)[:, None]
        around = F.max_pool2d(around, 3, stride=1, padding=1)
        offset = smooth(now.float() - moved.float(), seen & ~hole, around).clamp_(-MOST_OFFSET, MOST_OFFSET)
        fitted = (moved.float() + offset).round_().clamp_(0, 255).to(torch.uint8)
        result[todo] = torch.where(taken[:, None], fitted, now)
        left[todo] = hole & ~seen
        todo = todo[left[todo].flatten(1).any(1)]
    rest = _with_any(left)
    if len(rest):
        now, hole = result[rest], left[rest]
        colours = smooth(now.float(), ~hole | hole.flatten(1).all(1)[:, None, None])
        result[rest] = torch.where(hole[:, None], colours.round_().to(torch.uint8), now)
    return result


def best_shifts(images: Tensor, holes: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Find the shift that fills the hole of each image best.

    The cost of a shift has two parts. The first is the mean squared difference between the image and the shifted image
    over the ring around the hole; a ring pixel without a counterpart counts as `UNSEEN`. The second is the share of
    the hole that is not covered, times `UNSEEN`. All shifts are tried at once, by correlation in the frequency domain.
    The sums are whole numbers, so they are exact, and the choice is the same on every machine. If costs are equal, the
    first shift in reading order is taken, where shifts up or left come after shifts down or right.

    Args:
        images: (B, 3, S, S) uint8.
        holes: (B, S, S) bool, the pixels to fill; not empty.
        hidden: (B, S, S) bool, the pixels that cannot be used as a fill.

    Returns:
        (B, 2) int64, the shift in rows and columns: pixel p takes the value of the pixel at p + shift. And (B,) bool,
        whether any shift covers a part of the hole.
    """
    factor = -(-images.shape[-1] // WORKING_SIDE)
    small = F.avg_pool2d(images.double(), factor, ceil_mode=True, count_include_pad=False).round_()
    hole, seen = _any_in_cell(holes, factor), ~_any_in_cell(hidden, factor)
    side = small.shape[-1]
    padded = (2 * side, 2 * side)  # Padded, so that nothing wraps around to the other side.
    ring = (grow(hole, RING) & ~hole).double()[:, None]
    visible, wanted = seen.double()[:, None], hole.double()[:, None]
    squares = small.square().sum(1, keepdim=True)
    planes = torch.cat([ring, visible, wanted, ring * squares, visible * squares, ring * small, visible * small], 1)
    there = torch.fft.rfft2(planes, s=padded)
    ring_there, visible_there, wanted_there, ring_squares, visible_squares = there[:, :5].unbind(1)
    products = (there[:, 5:8].conj() * there[:, 8:]).sum(1)
    differences = ring_squares.conj() * visible_there - 2 * products + ring_there.conj() * visible_squares
    correlations = [differences, ring_there.conj() * visible_there, wanted_there.conj() * visible_there]
    error, ring_seen, hole_seen = torch.fft.irfft2(torch.stack(correlations, 1), s=padded).round_().unbind(1)
    ring_all, hole_all = ring.sum((2, 3)), wanted.sum((2, 3))
    cost = (error + UNSEEN * (ring_all[..., None] - ring_seen)) / ring_all.clamp_min(1)[..., None]
    cost += UNSEEN * (hole_all[..., None] - hole_seen) / hole_all[..., None]
    best = cost.masked_fill_(hole_seen == 0, torch.inf).flatten(1).min(1)
    found = torch.stack([best.indices // (2 * side), best.indices % (2 * side)], 1)
    return torch.where(found >= side, found - 2 * side, found) * factor, best.values.isfinite()


def smooth(values: Tensor, known: Tensor, cells: Tensor | None = None) -> Tensor:
    """Spread values smoothly from the pixels where they are known to all pixels.

    Each cell of a coarse grid takes the mean of its known values. A cell without a known value takes the mean of the
    smallest larger square that has one. Between cells the values are interpolated linearly.

    Args:
        values: (B, C, S, S) float.
        known: (B, S, S) bool, the pixels whose values are known.
        cells: (B, 1, `CELLS`, `CELLS`) float, 1 for cells that count and 0 for the others. If None, all cells count.

    Returns:
        (B, C, S, S) float; 0 for an image without a known pixel.
    """
    weight = F.adaptive_avg_pool2d(known[:, None].to(values.dtype), CELLS)
    mean = F.adaptive_avg_pool2d(values * known[:, None], CELLS)
    levels = [(mean, weight) if cells is None else (mean * cells, weight * cells)]
    while levels[-1][1].shape[-1] > 1:
        levels.append((F.avg_pool2d(levels[-1][0], 2), F.avg_pool2d(levels[-1][1], 2)))
    found = torch.zeros_like(levels[-1][0])
    for mean, weight in reversed(levels):
        found = F.interpolate(found, size=mean.shape[-2:], mode="bilinear")
        found = torch.where(weight > 0, mean / weight.clamp_min(1e-12), found)
    return F.interpolate(found, size=values.shape[-2:], mode="bilinear")


def _shifted(images: Tensor, hidden: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shifted images (B, 3, S, S), and which of their pixels come from visible pixels (B, S, S)."""
    count, _, height, width = images.shape
    rows = torch.arange(height, device=images.device) + shift[:, :1]
    columns = torch.arange(width, device=images.device) + shift[:, 1:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    index = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    flat = index.flatten(1)
    moved = images.flatten(2).gather(2, flat[:, None].expand(-1, 3, -1)).view_as(images)
    free = ~hidden.flatten(1).gather(1, flat).view(count, height, width)
    return moved, inside & free


def _any_in_cell(masks: Tensor, factor: int) -> Tensor:
    return F.max_pool2d(masks[:, None].float(), factor, ceil_mode=True)[:, 0] > 0


def _with_any(masks: Tensor) -> Tensor:
    return masks.flatten(1).any(1).nonzero()[:, 0]
