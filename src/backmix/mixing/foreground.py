"""The foreground of a batch, as cells of whole images or as true masks, asked for pixel by pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.mixing.view import View


class Foreground:
    """Says which pixels of a batch belong to the object, without blowing the cells up to the size of the images.

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

    def at(self, item: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Whether pixels are foreground.

        A pixel belongs to the cell that holds its centre (nearest upsampling of the cells to the whole image).

        Args:
            item: (n,) int64 images of the batch.
            rows: (n, h) int64 pixel rows in them.
            columns: (n, w) int64 pixel columns in them.

        Returns:
            (n, h, w) bool; false outside the whole image.
        """
        down, across = self.cells.shape[1:]
        height, width = self.size
        if self.view is None:
            # In whole numbers: the centre of pixel y lies at (2 y + 1) / (2 H) of the height.
            row = (2 * rows + 1) * down // (2 * height)
            column = (2 * columns + 1) * across // (2 * width)
            return self.cells[item[:, None, None], row[:, :, None], column[:, None, :]]
        view = View(self.view.boxes[item], self.view.flip[item])
        y, x = view.fractions(rows, columns, height, width)
        inside = ((y >= 0) & (y < 1))[:, :, None] & ((x >= 0) & (x < 1))[:, None, :]
        row = (y * down).long().clamp(0, down - 1)
        column = (x * across).long().clamp(0, across - 1)
        return self.cells[item[:, None, None], row[:, :, None], column[:, None, :]] & inside

    def everywhere(self) -> Tensor:
        """Foreground of the whole batch: (B, H, W) bool."""
        batch, device = len(self.cells), self.cells.device
        if self.view is None and self.cells.shape[1:] == self.size:
            return self.cells
        return self.at(
            torch.arange(batch, device=device),
            torch.arange(self.size[0], device=device).expand(batch, -1),
            torch.arange(self.size[1], device=device).expand(batch, -1),
        )


def top_cells(scores: Tensor, count: int) -> Tensor:
    """Mark the `count` highest cells of each map: (B, g, g) -> (B, g, g) bool.

    Ties go to the cell that comes first in reading order, on every device.
    """
    flat = scores.flatten(1)
    chosen = flat.argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, chosen, True).view_as(scores)


def centre_cells(grid: int, count: int) -> Tensor:
    """The `count` cells nearest to the centre of a grid: (1, grid, grid) bool."""
    offset = torch.arange(grid) - (grid - 1) / 2
    return top_cells(-(offset[:, None] ** 2 + offset[None] ** 2)[None], count)
