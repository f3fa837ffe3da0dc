"""Cutting, masking and pasting for a given draw. Nothing here is random or keeps state."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backmix.mixing.draw import Draw
from backmix.mixing.foreground import Foreground
from backmix.mixing.windows import Windows, windows_of


def paste_patches(
    images: Tensor,
    draw: Draw,
    mixed: Tensor | None,
    foreground: Foreground | None,
    fill_value: float | None,
    *,
    donors: Tensor | None = None,
    inplace: bool = False,
) -> Tensor:
    """Paste patches of donors into the images. The foreground of each donor is masked.

    Args:
        images: The images, (B, C, H, W).
        draw: The donors and places.
        mixed: Which images are mixed, (B,) bool; the others come back unchanged. None: every image is mixed.
        foreground: The foreground to mask in the donors. None: nothing is masked.
        fill_value: The value of masked pixels. None: the mean of the donor's background, plus the drawn noise if any.
        donors: The images to cut from instead of `images`, (B, C, H, W); in this case nothing is masked.
        inplace: Whether to paste into `images` themselves, if they are dense in memory and need no gradient.

    Returns:
        The mixed images, (B, C, H, W): a new tensor, or `images`.
    """
    last = images.is_contiguous(memory_format=torch.channels_last)
    # This copies only images that are contiguous in neither layout.
    images = images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    if not images.shape[0]:
        return images if inplace else images.clone()
    if donors is not None:
        foreground = None
        donors = donors.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    windows = windows_of(images, draw.side)
    # Without a gradient, autograd's checks would take a tenth of a call on small images.
    has_gradient = images.requires_grad or (donors is not None and donors.requires_grad)
    with torch.inference_mode(not has_gradient):
        rows, patches = _cut(windows, images, draw, mixed, foreground, fill_value, donors)
    # This comes after the patches are cut, because a donor is a target as well.
    result = images if inplace and not images.requires_grad else images.clone()
    count = draw.corners.shape[1]
    if count == 1:
        windows.write(result, rows, patches)
    else:
        for where, patch in zip(rows.chunk(count), patches.chunk(count), strict=True):  # The last patch is on top.
            windows.write(result, where, patch)
    return result


def _cut(
    windows: Windows,
    images: Tensor,
    draw: Draw,
    mixed: Tensor | None,
    foreground: Foreground | None,
    fill_value: float | None,
    donors: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return where the rows of the patches go, and the patches: first one of each image, then the next of each."""
    # On the CPU it costs less to read a value than to choose pixel by pixel. On an accelerator the read would wait.
    if mixed is not None and mixed.device.type == "cpu" and bool(mixed.all()):
        mixed = None
    statistics = None
    if foreground is not None and fill_value is None:
        statistics = background_statistics(images, foreground)
    count, donor = draw.corners.shape[1], draw.donor
    if count > 1:
        donor = donor.repeat(count)
        mixed = None if mixed is None else mixed.repeat(count)
    top, left = (corner.flatten(1) for corner in draw.corners.unbind(2))
    cut = (top[0], left[0])
    from_rows, to_rows = windows.rows(donor, top, left)
    if mixed is not None:
        # An image that is not mixed gets its own pixels, so there is no branch and no wait for the device.
        from_rows = torch.where(mixed[:, None], from_rows, to_rows)
    patch = windows.read(images if donors is None else donors, from_rows)
    if donors is not None and mixed is not None:
        # An image that is not mixed must get its own pixels from `images`, not from `donors`.
        patch = torch.where(mixed[:, None, None, None], patch, windows.read(images, from_rows))
    if foreground is not None and statistics is None:
        repeat, dtype = windows.run // windows.side, images.dtype
        visible = foreground.visible_in_windows(donor, cut, windows.side, repeat=repeat, dtype=dtype)
        if mixed is not None:
            visible = visible.where(mixed[:, None, None, None], 1)
        # A product with 0 and 1 has the result of `where`, but is vectorised.
        patch.mul_(visible)
        if fill_value:
            patch.add_(1 - visible, alpha=fill_value if images.is_floating_point() else int(fill_value))
    elif foreground is not None:
        noise = None if draw.noise is None else draw.noise.flatten(0, 1)
        filling = _filling(statistics, donor, noise, images.dtype)
        hidden = foreground.in_windows(donor, cut, windows.side)[:, None]
        if mixed is not None:
            hidden = hidden & mixed[:, None, None, None]
        pixels = windows.as_images(patch)
        pixels.copy_(torch.where(hidden, filling, pixels))
    return to_rows, patch


def swap_backgrounds(
    images: Tensor,
    draw: Draw,
    mixed: Tensor | None,
    foreground: Foreground,
    fill_value: float | None,
    *,
    donors: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Replace the background of each image with the background of its donor.

    Args:
        images: The images, (B, C, H, W).
        draw: The donors, and the noise if any.
        mixed: Which images are mixed, (B,) bool; the others come back unchanged. None: every image is mixed.
        foreground: The foreground of the images. Each image keeps its own; the foreground of its donor is filled.
        fill_value: The value of filled pixels. None: the mean of the donor's background, plus the drawn noise if any.
        donors: The backgrounds to use instead of `images`, (B, C, H, W); in this case nothing is filled.

    Returns:
        The mixed images, (B, C, H, W), a new tensor; and (B, H, W) bool, true where pixels are the target's own.
    """
    objects = foreground.everywhere()
    if mixed is None:
        mixed = torch.ones(len(images), dtype=torch.bool, device=images.device)
    donor = torch.where(mixed, draw.donor, torch.arange(len(images), device=images.device))
    background = (images if donors is None else donors)[donor]
    hidden = (objects[donor] & mixed[:, None, None])[:, None]
    if donors is not None:
        pass
    elif fill_value is None:
        filling = _filling(background_statistics(images, foreground), donor, draw.noise, images.dtype)
        background = torch.where(hidden, filling, background)
    else:
        background.masked_fill_(hidden, fill_value)
    own = objects | ~mixed[:, None, None]
    return torch.where(own[:, None], images, background), own


def backgrounds_of(images: Tensor, foreground: Foreground, fill_value: float) -> Tensor:
    """Replace the object of each image with background from elsewhere in the same image.

    A hole of one colour would keep the outline of the object, which still shows its class. A hidden pixel takes the
    pixel at a distance of half the image's sides, in the first of three directions in which that pixel is background.
    If there is no such direction, it takes `fill_value`.

    Args:
        images: The images, (B, C, H, W).
        foreground: The foreground to hide.
        fill_value: The value of pixels without any background half the image away.

    Returns:
        The images without their objects, (B, C, H, W), a new tensor.
    """
    hidden = foreground.everywhere()
    height, width = images.shape[2:]
    result, left = images, hidden
    for shift in ((height // 2, width // 2), (0, width // 2), (height // 2, 0)):
        seen = left & ~hidden.roll(shift, (1, 2))
        result = torch.where(seen[:, None], images.roll(shift, (2, 3)), result)
        left = left & ~seen
    return result.masked_fill(left[:, None], fill_value if images.is_floating_point() else int(fill_value))


def pasted_cells(paste: Tensor, side: int, mixed: Tensor | None, size: tuple[int, int], grid: int) -> Tensor:
    """Return which cells of a grid over mixed images overlap a pasted patch.

    Args:
        paste: The top and left pixel of each patch, (P, 2, B) int64.
        side: The side of the patches, in pixels.
        mixed: Which images received patches, (B,) bool. None: every image.
        size: The rows and columns of the images, in pixels.
        grid: The number of cells per side.

    Returns:
        (B, grid, grid) bool, true at cells that overlap a patch.
    """
    cell = torch.arange(grid, device=paste.device)
    hit = []
    for axis, length in enumerate(size):
        first = paste[:, axis, :, None]
        hit.append(((cell + 1) * length > first * grid) & (cell * length < (first + side) * grid))
    rows, columns = hit
    overlap: Tensor = (rows[..., :, None] & columns[..., None, :]).any(0)
    return overlap if mixed is None else overlap & mixed[:, None, None]


def swapped_cells(own: Tensor, grid: int) -> Tensor:
    """Return which cells of a grid hold a pixel of another image: (B, H, W) bool own pixels -> (B, grid, grid) bool."""
    return ~whole_cells(own, grid)


def background_statistics(images: Tensor, foreground: Foreground) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation of each image's background, both (B, C, 1, 1) float32; 0 without one."""
    background = ~foreground.everywhere()[:, None]
    count = background.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (images * background).sum((2, 3), keepdim=True, dtype=torch.float32) / count
    square = ((images - mean) ** 2 * background).sum((2, 3), keepdim=True, dtype=torch.float32) / count
    return mean, square.sqrt()


def whole_cells(pixels: Tensor, grid: int) -> Tensor:
    """Return which cells have only true pixels: (B, h, w) bool -> (B, grid, grid) bool."""
    if pixels.shape[1:] == (grid, grid):
        return pixels
    return F.adaptive_max_pool2d((~pixels)[:, None].float(), grid)[:, 0] == 0


def _filling(
    statistics: tuple[Tensor, Tensor] | None, donor: Tensor, noise: Tensor | None, dtype: torch.dtype
) -> Tensor:
    assert statistics is not None
    mean, deviation = statistics[0][donor], statistics[1][donor]
    filling = mean if noise is None else mean + deviation * noise
    if not dtype.is_floating_point:
        # Noise can leave the range of the integer type.
        filling = filling.round().clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    return filling.to(dtype)
