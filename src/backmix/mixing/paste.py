"""Cutting, masking and pasting, given a draw: no chance and no state in here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backmix.mixing.draw import Draw
from backmix.mixing.foreground import Foreground


def paste_patches(
    images: Tensor, draw: Draw, mixed: Tensor, foreground: Foreground | None, fill_value: float | None
) -> Tensor:
    """Paste into each image a patch of its donor whose foreground is masked.

    Args:
        images: (B, C, H, W).
        draw: donors and places.
        mixed: (B,) bool; images where it is false come back unchanged.
        foreground: what to mask in donors; None: nothing.
        fill_value: what masked pixels become; None: the mean of the donor's background, plus the drawn noise if any.

    Returns:
        (B, C, H, W), a new tensor.
    """
    side = draw.side
    result = images.clone()
    item = torch.arange(len(images), device=images.device)
    # An image that is not mixed gives the pixels at the paste corner to itself: no branch, no wait for the device.
    donor = torch.where(mixed, draw.donor, item)
    cut = torch.where(mixed, draw.cut, draw.paste)
    # Windows are strided views, so one indexing call cuts all patches and one pastes them, whatever the layout.
    from_windows = images.unfold(2, side, 1).unfold(3, side, 1)
    to_windows = result.unfold(2, side, 1).unfold(3, side, 1)
    pixel = torch.arange(side, device=images.device)
    statistics = None
    if foreground is not None and fill_value is None:
        statistics = background_statistics(images, foreground)
    for number in range(len(draw.cut)):
        top, left = cut[number]
        patch = from_windows[donor, :, top, left]
        if foreground is not None:
            masked = foreground.at(donor, top[:, None] + pixel, left[:, None] + pixel)
            masked = (masked & mixed[:, None, None])[:, None]
            if statistics is None:
                patch.masked_fill_(masked, fill_value or 0)
            else:
                noise = None if draw.noise is None else draw.noise[number]
                patch = torch.where(masked, _filling(statistics, donor, noise).to(patch.dtype), patch)
        top, left = draw.paste[number]
        to_windows[item, :, top, left] = patch
    return result


def swap_backgrounds(
    images: Tensor, draw: Draw, mixed: Tensor, foreground: Foreground, fill_value: float | None
) -> tuple[Tensor, Tensor]:
    """Replace everything but each image's foreground by its donor's background.

    Where the donor's own foreground would show, it is filled as in `paste_patches`.

    Returns:
        (B, C, H, W) a new tensor, and (B, H, W) bool, true where pixels are the target's own.
    """
    objects = foreground.everywhere()
    donor = torch.where(mixed, draw.donor, torch.arange(len(images), device=images.device))
    background = images[donor]
    hidden = (objects[donor] & mixed[:, None, None])[:, None]
    if fill_value is None:
        filling = _filling(background_statistics(images, foreground), donor, draw.noise)
        background = torch.where(hidden, filling.to(images.dtype), background)
    else:
        background.masked_fill_(hidden, fill_value)
    own = objects | ~mixed[:, None, None]
    return torch.where(own[:, None], images, background, out=background), own


def pasted_cells(draw: Draw, mixed: Tensor, size: tuple[int, int], grid: int) -> Tensor:
    """Cells of a grid over the mixed images that overlap a pasted patch: (B, grid, grid) bool."""
    cell = torch.arange(grid, device=mixed.device)
    hit = []
    for axis, length in enumerate(size):
        first = draw.paste[:, axis, :, None]
        hit.append(((cell + 1) * length > first * grid) & (cell * length < (first + draw.side) * grid))
    rows, columns = hit
    overlap: Tensor = (rows[..., :, None] & columns[..., None, :]).any(0)
    return overlap & mixed[:, None, None]


def background_statistics(images: Tensor, foreground: Foreground) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each image's background, both (B, C, 1, 1) float32; 0 where it has none."""
    background = ~foreground.everywhere()[:, None]
    count = background.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (images * background).sum((2, 3), keepdim=True, dtype=torch.float32) / count
    square = ((images - mean) ** 2 * background).sum((2, 3), keepdim=True, dtype=torch.float32) / count
    return mean, square.sqrt()


def whole_cells(pixels: Tensor, grid: int) -> Tensor:
    """Cells of which every pixel is true: (B, h, w) bool -> (B, grid, grid) bool."""
    if pixels.shape[1:] == (grid, grid):
        return pixels
    return F.adaptive_max_pool2d((~pixels)[:, None].float(), grid)[:, 0] == 0


def _filling(statistics: tuple[Tensor, Tensor], donor: Tensor, noise: Tensor | None) -> Tensor:
    mean, deviation = statistics[0][donor], statistics[1][donor]
    return mean if noise is None else mean + deviation * noise
