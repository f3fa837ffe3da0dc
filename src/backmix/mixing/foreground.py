"""The foreground of a batch, as cells of whole images or as true masks, asked for pixel by pixel."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from backmix.mixing.view import View

MOST_LISTED = 8  # Cells in a row up to which every row there can be is kept, blown up to pixels.
MOST_PACKED = 62  # Cells in a row that fit into an int64.


class Foreground:
    """Says which pixels of a batch belong to the object, without blowing the cells up to the size of the images.

    A pixel belongs to the cell that holds its centre (nearest upsampling of the cells to the whole image).

    Args:
        cells: (B, g, g) bool foreground cells of whole images.
        size: rows and columns of the batch in pixels.
        view: what the batch shows of the whole images; None: all of it.
    """

    def __init__(self, cells: Tensor, size: tuple[int, int], view: View | None = None) -> None:
        self.size = size
        self.view = view
        self._shape = (cells.shape[1], cells.shape[2])
        self._cells: Tensor | None = cells
        self._packed: Tensor | None = None  # Cells of more images than these, packed, and which of them are these.
        self._place: Tensor | None = None

    @classmethod
    def of_packed(
        cls, packed: Tensor, place: Tensor, across: int, size: tuple[int, int], view: View | None = None
    ) -> Foreground:
        """Foreground of a batch from packed cells of many images, see `pack_cells`.

        Args:
            packed: (N, g) int64.
            place: (B,) int64; which of the N belongs to each image of the batch.
            across: cells in a row.
            size: rows and columns of the batch in pixels.
            view: what the batch shows of the whole images; None: all of it.
        """
        foreground = cls.__new__(cls)
        foreground.size, foreground.view = size, view
        foreground._shape = (packed.shape[1], across)
        foreground._cells, foreground._packed, foreground._place = None, packed, place
        return foreground

    @property
    def cells(self) -> Tensor:
        """(B, g, g) bool foreground cells of whole images."""
        if self._cells is None:
            assert self._packed is not None and self._place is not None
            self._cells = unpack_cells(self._packed.index_select(0, self._place), self._shape[1])
        return self._cells

    @classmethod
    def of_masks(cls, masks: Tensor) -> Foreground:
        """Foreground from true masks (B, H, W) bool in the frame of the batch."""
        return cls(masks, (masks.shape[1], masks.shape[2]))

    def in_windows(self, item: Tensor, corner: tuple[Tensor, Tensor], side: int, *, repeat: int = 1) -> Tensor:
        """Whether the pixels of one square window per image are foreground.

        Args:
            item: (n,) int64 images of the batch.
            corner: top and left pixel of the window in each, both (n,) int64.
            side: rows and columns of the windows.
            repeat: how often to repeat each column, for images with channels last.

        Returns:
            (n, side, side * repeat) bool; false outside the whole image.
        """
        top, left = corner
        if self.view is None:
            down, across = self._shape
            row = _cells_of_windows(self.size[0], down, side, 1, top.device).index_select(0, top)
            column = _cells_of_windows(self.size[1], across, side, repeat, top.device).index_select(0, left)
            return self._look_up(item, row, column)
        pixel = torch.arange(side, device=top.device)
        return self._through_view(item, top[:, None] + pixel, left[:, None] + pixel.repeat_interleave(repeat))

    def visible_in_windows(
        self,
        item: Tensor,
        corner: tuple[Tensor, Tensor],
        side: int,
        *,
        repeat: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """What `in_windows` leaves: (n, 1, side, side * repeat), 0 on the foreground and 1 elsewhere."""
        down, across = self._shape
        if self.view is not None or across > MOST_LISTED:
            return (~self.in_windows(item, corner, side, repeat=repeat)).unsqueeze(1).to(dtype)
        if self._packed is None:
            self._packed = pack_cells(self.cells)
        # A row of cells, packed into one number, names a line of the list; the window shows a run of that line.
        top, left = corner
        place = item if self._place is None else self._place.index_select(0, item)
        row = _cells_of_windows(self.size[0], down, side, 1, top.device).index_select(0, top)
        line = self._packed.index_select(0, place).gather(1, row)
        first = torch.add(left.unsqueeze(1), line, alpha=self.size[1]).view(-1)
        runs = _visible_runs(self.size[1], across, side, repeat, dtype, top.device)
        return runs.index_select(0, first).view(-1, 1, side, side * repeat)

    def everywhere(self) -> Tensor:
        """Foreground of the whole batch: (B, H, W) bool."""
        height, width = self.size
        batch = len(self.cells)
        down, across = self._shape
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
        down, across = self._shape
        view = View(self.view.boxes[item], self.view.flip[item])
        y, x = view.fractions(rows, columns, *self.size)
        inside = ((y >= 0) & (y < 1))[:, :, None] & ((x >= 0) & (x < 1))[:, None, :]
        # Rounding may lift a fraction just below 1 onto the cell past the last.
        row, column = (y * down).long().clamp(0, down - 1), (x * across).long().clamp(0, across - 1)
        return self._look_up(item, row, column) & inside

    def _look_up(self, item: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Cells at (n,) images, (n, h) rows and (n, w) columns of the map: (n, h, w) bool."""
        down, across = self._shape
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


def pack_cells(cells: Tensor) -> Tensor:
    """Pack each row of cells into the bits of a number: (..., w) bool -> (...) int64, with w at most `MOST_PACKED`."""
    return (cells.long() << torch.arange(cells.shape[-1], device=cells.device)).sum(-1)


def unpack_cells(packed: Tensor, across: int) -> Tensor:
    """Take rows of cells out of the bits of numbers: (...) int64 -> (..., across) bool."""
    return (packed[..., None] >> torch.arange(across, device=packed.device)) & 1 == 1


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


@lru_cache(maxsize=4)
def _visible_rows(pixels: int, cells: int, repeat: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Every row of cells there can be, blown up to pixels: (2^cells, pixels * repeat), 0 on the foreground, else 1."""
    with torch.inference_mode(False):
        visible = ~unpack_cells(torch.arange(2**cells, device=device), cells)
        return visible[:, _cell_of_pixel(pixels, cells, device).repeat_interleave(repeat)].to(dtype)


@lru_cache(maxsize=4)
def _visible_runs(pixels: int, cells: int, side: int, repeat: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Every run of `side` pixels in the list of `_visible_rows`, by its first pixel: (n, side * repeat), a view."""
    with torch.inference_mode(False):
        rows = _visible_rows(pixels, cells, repeat, dtype, device)
        return rows.as_strided((rows.numel() // repeat - side + 1, side * repeat), (repeat, 1))
