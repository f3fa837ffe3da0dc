"""The foreground of a batch, as cells of whole images or as true masks, asked for pixel by pixel."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from backmix.mixing.view import View

MOST_SPREAD = 16  # Cells in a row up to which a product is quicker than looking pixels up.


class Foreground:
    """Says which pixels of a batch belong to the object, without blowing the cells up to the size of the images.

    A pixel belongs to the cell that holds its centre (nearest upsampling of the cells to the whole image).

    Args:
        cells: (B, g, g) bool foreground cells of whole images.
        size: rows and columns of the batch in pixels.
        view: what the batch shows of the whole images; None: all of it.
    """

    def __init__(self, cells: Tensor, size: tuple[int, int], view: View | None = None) -> None:
        self.cells = cells
        self.size = size
        self.view = view

    @classmethod
    def of_masks(cls, masks: Tensor) -> Foreground:
        """Foreground from true masks (B, H, W) bool in the frame of the batch."""
        return cls(masks, (masks.shape[1], masks.shape[2]))

    def in_windows(self, item: Tensor, corner: Tensor, side: int, *, repeat: int = 1) -> Tensor:
        """Whether the pixels of one square window per image are foreground.

        Args:
            item: (n,) int64 images of the batch.
            corner: (2, n) int64 top and left pixel of the window in each.
            side: rows and columns of the windows.
            repeat: how often to repeat each column, for images with channels last.

        Returns:
            (n, side, side * repeat) bool; false outside the whole image.
        """
        top, left = corner.unbind()
        if self.view is None:
            down, across = self.cells.shape[1:]
            row = _cells_of_windows(self.size[0], down, side, 1, top.device).index_select(0, top)
            column = _cells_of_windows(self.size[1], across, side, repeat, top.device).index_select(0, left)
            return self._look_up(item, row, column)
        pixel = torch.arange(side, device=top.device)
        return self._through_view(item, top[:, None] + pixel, left[:, None] + pixel.repeat_interleave(repeat))

    def visible_in_windows(self, item: Tensor, corner: Tensor, side: int, *, repeat: int = 1) -> Tensor:
        """What `in_windows` leaves: (n, side, side * repeat) float32, 0 on the foreground and 1 elsewhere."""
        down, across = self.cells.shape[1:]
        if self.view is not None or across > MOST_SPREAD:
            return 1 - self.in_windows(item, corner, side, repeat=repeat).float()
        top, left = corner.unbind()
        # Whole rows of cells are picked, then spread over pixels by a product with 0 and 1: far fewer look-ups.
        row = _cells_of_windows(self.size[0], down, side, 1, top.device).index_select(0, top)
        rows = row.add_(item[:, None], alpha=down).view(-1)
        cells = (~self.cells).float().view(-1, across).index_select(0, rows).view(-1, side, across)
        return torch.bmm(cells, _spread(self.size[1], across, side, repeat, top.device).index_select(0, left))

    def everywhere(self) -> Tensor:
        """Foreground of the whole batch: (B, H, W) bool."""
        height, width = self.size
        batch, down, across = self.cells.shape
        if self.view is None and (down, across) == self.size:
            return self.cells
        device = self.cells.device
        item = torch.arange(batch, device=device)
        if self.view is None:
            row, column = _cell_of_pixel(height, down, device), _cell_of_pixel(width, across, device)
            return self._look_up(item, row.expand(batch, -1), column.expand(batch, -1))
        rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
        return self._through_view(item, rows.expand(batch, -1), columns.expand(batch, -1))

    def _through_view(self, item: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        assert self.view is not None
        _, down, across = self.cells.shape
        view = View(self.view.boxes[item], self.view.flip[item])
        y, x = view.fractions(rows, columns, *self.size)
        inside = ((y >= 0) & (y < 1))[:, :, None] & ((x >= 0) & (x < 1))[:, None, :]
        # Rounding may lift a fraction just below 1 onto the cell past the last.
        row, column = (y * down).long().clamp(0, down - 1), (x * across).long().clamp(0, across - 1)
        return self._look_up(item, row, column) & inside

    def _look_up(self, item: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Cells at (n,) images, (n, h) rows and (n, w) columns of the map: (n, h, w) bool."""
        _, down, across = self.cells.shape
        first = torch.add(row, item[:, None], alpha=down).mul_(across)
        # A single index into the flat map is found several times faster than three side by side.
        index = first[:, :, None] + column[:, None, :]
        return self.cells.flatten().index_select(0, index.view(-1)).view(index.shape)


def top_cells(scores: Tensor, count: int) -> Tensor:
    """Mark the `count` highest cells of each map: (B, g, g) float32, not negative -> (B, g, g) bool.

    Ties go to the cell that comes first in reading order, on every device.
    """
    flat = scores.flatten(1)
    cells = flat.shape[1]
    # Bits of floats that are not negative are in the order of the floats; the place in the map goes behind them.
    order = torch.arange(cells - 1, -1, -1, device=scores.device)
    key = torch.add(order, flat.view(torch.int32), alpha=cells)
    lowest = key.topk(count, dim=1).values[:, -1:]
    return (key >= lowest).view_as(scores)


def centre_cells(grid: int, count: int) -> Tensor:
    """The `count` cells nearest to the centre of a grid: (1, grid, grid) bool."""
    offset = torch.arange(grid) - (grid - 1) / 2
    distance = offset[:, None] ** 2 + offset**2
    return top_cells((grid**2 - distance)[None], count)


@lru_cache(maxsize=32)
def _cell_of_pixel(pixels: int, cells: int, device: torch.device) -> Tensor:
    """Cell that holds the centre of each pixel along an axis: (pixels,) int64."""
    with torch.inference_mode(False):
        # In whole numbers: the centre of pixel y lies at (2 y + 1) / (2 * pixels) of the axis.
        return (2 * torch.arange(pixels, device=device) + 1) * cells // (2 * pixels)


@lru_cache(maxsize=32)
def _cells_of_windows(pixels: int, cells: int, side: int, repeat: int, device: torch.device) -> Tensor:
    """Cells of the pixels of every window along an axis: (pixels - side + 1, side * repeat) int64."""
    with torch.inference_mode(False):
        windows = _cell_of_pixel(pixels, cells, device).unfold(0, side, 1)
        return windows.repeat_interleave(repeat, dim=1) if repeat > 1 else windows.contiguous()


@lru_cache(maxsize=32)
def _spread(pixels: int, cells: int, side: int, repeat: int, device: torch.device) -> Tensor:
    """Which cell each pixel of every window along an axis shows: (pixels - side + 1, cells, side * repeat) of 0, 1."""
    with torch.inference_mode(False):
        shown = _cells_of_windows(pixels, cells, side, repeat, device)
        return (shown[:, None] == torch.arange(cells, device=device)[:, None]).float()
