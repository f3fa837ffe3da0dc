"""The foreground of a batch, given as cells of whole images or as true masks, and read pixel by pixel."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from backmix.mixing.view import View

MOST_LISTED = 8  # Up to this many cells in a row, every possible row of cells is kept in the size of pixels.
MOST_PACKED = 62  # The most cells in a row that fit into an int64.


class Foreground:
    """The pixels of a batch that belong to the object, found without enlarging the cells to the size of the images.

    A pixel belongs to the cell that holds its centre (nearest upsampling of the cells to the whole image).

    Args:
        cells: The foreground cells of the whole images, (B, g, g) bool.
        size: The rows and columns of the batch, in pixels.
        view: The part of the whole images that the batch shows. None: all of it.
    """

    def __init__(self, cells: Tensor, size: tuple[int, int], view: View | None = None) -> None:
        self.size = size
        self.view = view
        self._shape = (cells.shape[1], cells.shape[2])
        self._cells: Tensor | None = cells
        self._packed: Tensor | None = None  # The packed cells of these images, or of more images.
        self._place: Tensor | None = None  # The place of each image of the batch in `_packed`. None: the same order.

    @classmethod
    def of_packed(
        cls, packed: Tensor, place: Tensor, across: int, size: tuple[int, int], view: View | None = None
    ) -> Foreground:
        """Make the foreground of a batch from packed cells of many images, see `pack_cells`.

        Args:
            packed: The packed cells of N images, (N, g) int64.
            place: The place of each image of the batch among the N, (B,) int64.
            across: The number of cells in a row.
            size: The rows and columns of the batch, in pixels.
            view: The part of the whole images that the batch shows. None: all of it.
        """
        foreground = cls.__new__(cls)
        foreground.size, foreground.view = size, view
        foreground._shape = (packed.shape[1], across)
        foreground._cells, foreground._packed, foreground._place = None, packed, place
        return foreground

    @property
    def cells(self) -> Tensor:
        """The foreground cells of the whole images, (B, g, g) bool."""
        if self._cells is None:
            assert self._packed is not None and self._place is not None
            self._cells = unpack_cells(self._packed.index_select(0, self._place), self._shape[1])
        return self._cells

    @classmethod
    def of_masks(cls, masks: Tensor) -> Foreground:
        """Make the foreground from true masks (B, H, W) bool in the frame of the batch."""
        return cls(masks, (masks.shape[1], masks.shape[2]))

    def in_windows(self, item: Tensor, corner: tuple[Tensor, Tensor], side: int, *, repeat: int = 1) -> Tensor:
        """Return which pixels of one square window per image are foreground.

        Args:
            item: The positions of the images in the batch, (n,) int64.
            corner: The top and the left pixel of the window in each image, both (n,) int64.
            side: The side of the windows, in pixels.
            repeat: How often each column is repeated, for images with channels last.

        Returns:
            (n, side, side * repeat) bool, true on the foreground and false outside the whole image.
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
        """Return the opposite of `in_windows` as numbers: 0 on the foreground and 1 elsewhere.

        Args:
            item: See `in_windows`.
            corner: See `in_windows`.
            side: See `in_windows`.
            repeat: See `in_windows`.
            dtype: The dtype of the result.

        Returns:
            (n, 1, side, side * repeat) of `dtype`.
        """
        down, across = self._shape
        if self.view is not None or across > MOST_LISTED:
            return (~self.in_windows(item, corner, side, repeat=repeat)).unsqueeze(1).to(dtype)
        if self._packed is None:
            self._packed = pack_cells(self.cells)
        # A row of cells packed into one number is a position in the list of rows; the window shows a run of that row.
        top, left = corner
        place = item if self._place is None else self._place.index_select(0, item)
        row = _cells_of_windows(self.size[0], down, side, 1, top.device).index_select(0, top)
        line = self._packed.index_select(0, place).gather(1, row)
        first = torch.add(left.unsqueeze(1), line, alpha=self.size[1]).view(-1)
        runs = _visible_runs(self.size[1], across, side, repeat, dtype, top.device)
        return runs.index_select(0, first).view(-1, 1, side, side * repeat)

    def everywhere(self) -> Tensor:
        """Return the foreground of the whole batch, (B, H, W) bool."""
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
        # Rounding may move a fraction just below 1 to the cell after the last one.
        row, column = (y * down).long().clamp(0, down - 1), (x * across).long().clamp(0, across - 1)
        return self._look_up(item, row, column) & inside

    def _look_up(self, item: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Return the cells of (n,) images at (n, h) rows and (n, w) columns of the map: (n, h, w) bool."""
        down, across = self._shape
        first = torch.add(row, item[:, None], alpha=down).mul_(across)
        # One index into the flat map is several times faster than three indices side by side.
        index = first[:, :, None] + column[:, None, :]
        return self.cells.flatten().index_select(0, index.view(-1)).view(index.shape)


def top_cells(scores: Tensor, count: int) -> Tensor:
    """Mark the `count` highest cells of each map: (B, g, g) float32, at least 0 -> (B, g, g) bool.

    Ties go to the cell that comes first in reading order, on every device.
    """
    flat = scores.flatten(1)
    cells = flat.shape[1]
    # The bits of floats of at least 0, read as integers, are in the order of the floats. The place breaks ties.
    order = torch.arange(cells - 1, -1, -1, device=scores.device)
    key = torch.add(order, flat.view(torch.int32), alpha=cells)
    lowest = key.topk(count, dim=1).values[:, -1:]
    return (key >= lowest).view_as(scores)


def pack_cells(cells: Tensor) -> Tensor:
    """Pack each row of cells into the bits of a number: (..., w) bool -> (...) int64; w is at most `MOST_PACKED`."""
    return (cells.long() << torch.arange(cells.shape[-1], device=cells.device)).sum(-1)


def unpack_cells(packed: Tensor, across: int) -> Tensor:
    """Unpack rows of cells from the bits of numbers, the inverse of `pack_cells`: (...) int64 -> (..., across) bool."""
    return (packed[..., None] >> torch.arange(across, device=packed.device)) & 1 == 1


def centre_cells(grid: int, count: int) -> Tensor:
    """Mark the `count` cells nearest to the centre of a grid: (1, grid, grid) bool."""
    offset = torch.arange(grid) - (grid - 1) / 2
    distance = offset[:, None] ** 2 + offset**2
    return top_cells((grid**2 - distance)[None], count)


@lru_cache(maxsize=32)
def _cell_of_pixel(pixels: int, cells: int, device: torch.device) -> Tensor:
    """Return the cell that holds the centre of each pixel along an axis: (pixels,) int64."""
    with torch.inference_mode(False):
        # Computed in whole numbers: the centre of pixel y lies at (2 y + 1) / (2 * pixels) of the axis.
        return (2 * torch.arange(pixels, device=device) + 1) * cells // (2 * pixels)


@lru_cache(maxsize=32)
def _cells_of_windows(pixels: int, cells: int, side: int, repeat: int, device: torch.device) -> Tensor:
    """Return the cells of the pixels of every window along an axis: (pixels - side + 1, side * repeat) int64."""
    with torch.inference_mode(False):
        windows = _cell_of_pixel(pixels, cells, device).unfold(0, side, 1)
        return windows.repeat_interleave(repeat, dim=1) if repeat > 1 else windows.contiguous()


@lru_cache(maxsize=4)
def _visible_rows(pixels: int, cells: int, repeat: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return every possible row of cells as pixels: (2^cells, pixels * repeat), 0 on the foreground and 1 elsewhere."""
    with torch.inference_mode(False):
        visible = ~unpack_cells(torch.arange(2**cells, device=device), cells)
        return visible[:, _cell_of_pixel(pixels, cells, device).repeat_interleave(repeat)].to(dtype)


@lru_cache(maxsize=4)
def _visible_runs(pixels: int, cells: int, side: int, repeat: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return every run of `side` pixels in `_visible_rows`, by its first pixel: (n, side * repeat), a view."""
    with torch.inference_mode(False):
        rows = _visible_rows(pixels, cells, repeat, dtype, device)
        return rows.as_strided((rows.numel() // repeat - side + 1, side * repeat), (repeat, 1))
