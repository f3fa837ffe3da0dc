"""Pictures without their objects: the hole is filled with the picture's own background from elsewhere in it.

A hole of one colour, or a blurred one, would show the outline of what was taken out, and with it what it was. So the
fill is real background: the picture is laid over itself, shifted by what makes the surroundings of the hole agree best
and covers most of it. What one shift leaves is filled by the next. Where light or colour differ between there and here,
the difference at the edge of the hole is carried smoothly into it. What no shift reaches takes the colours around.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WORKING_SIDE = 48
"""Side to which images are brought down to look for the shift; it is found to a pixel up to here."""
ROUNDS = 6
"""Shifts for one image; each covers what it can of the hole that is left."""
UNSEEN = 3 * 128**2
"""What a pixel that a shift does not cover counts against it: as much as one that differs by 128 grey levels."""
RING = 2
"""Width of the surroundings that are compared, in pixels of the working size."""
CELLS = 16
"""Cells in a row of the grid on which differences of light and colour are evened out."""
MOST_OFFSET = 48
"""Grey levels by which a fill is made lighter or darker at most."""


def without_object(images: Tensor, masks: Tensor) -> Tensor:
    """Replace the objects by their pictures' own background.

    The mask is grown first by the width of an edge, so that no rim of the object is left, and the fill fades into the
    picture over as much again.

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
    """Lay pictures over others, (B, 3, S, S) uint8 both, by `alpha` (B, S, S) in 0..1; rounded to whole grey levels."""
    first, second = over.float(), under.float()
    return torch.add(second, (first - second) * alpha[:, None]).round_().to(torch.uint8)


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


def fill_holes(images: Tensor, holes: Tensor) -> Tensor:
    """Fill holes with what lies elsewhere in the same image.

    Args:
        images: (B, 3, S, S) uint8; what is in the holes counts for nothing, unless an image is all hole.
        holes: (B, S, S) bool.

    Returns:
        (B, 3, S, S) uint8, a new tensor; outside the holes it is the image.
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
    """Find for each image the shift that fills its hole best.

    The cost of a shift is the mean over the ring around the hole of the squared difference between the image and the
    shifted image, plus the share of the hole that is not covered times `UNSEEN`; ring pixels without a counterpart
    count `UNSEEN` too. All shifts are tried at once, by correlation in the frequency domain. The sums are whole
    numbers, so they come out exact, and the choice is the same on every machine. Of equal costs the first shift
    counts, in reading order, shifts up or left after those down or right.

    Args:
        images: (B, 3, S, S) uint8.
        holes: (B, S, S) bool, what is to be filled; not empty.
        hidden: (B, S, S) bool, what cannot be taken.

    Returns:
        (B, 2) int64, rows and columns: pixel p takes what is at p + shift; and (B,) bool, whether any shift covers
        anything.
    """
    factor = -(-images.shape[-1] // WORKING_SIDE)
    small = F.avg_pool2d(images.double(), factor, ceil_mode=True, count_include_pad=False).round_()
    hole, seen = _any_in_cell(holes, factor), ~_any_in_cell(hidden, factor)
    side = small.shape[-1]
    padded = (2 * side, 2 * side)  # So that nothing comes in again on the other side.
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
    """Carry values from where they are known to everywhere, smoothly.

    Means over a coarse grid; a cell where nothing is known takes the mean of ever larger squares; linear in between.

    Args:
        values: (B, C, S, S) float.
        known: (B, S, S) bool.
        cells: (B, 1, `CELLS`, `CELLS`) float, 1 for cells that count and 0 for others; None: all count.

    Returns:
        (B, C, S, S) float; 0 for an image where nothing is known.
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
    """What each pixel takes (B, 3, S, S), and whether that is inside the image and not hidden (B, S, S)."""
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
