"""Square windows of a batch, read and written row by row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """The places in memory of the s x s windows of dense (B, C, H, W) images.

    A row of a window is one run of memory: s pixels of one channel, or of all channels if the channels come last. A
    copy of whole runs is several times faster than a copy pixel by pixel. In memory a window has the shape
    (planes, s, run), where planes is C, or 1 with channels last. Everything here depends only on the shape and the
    layout, so it is computed once: see `windows_of`.

    Attributes:
        side: The side s, in pixels.
        planes: C, or 1 if the channels come last.
        run: The number of elements in a row of a window.
        item: The number of elements from one image to the next.
        row: The number of elements from a pixel to the pixel below it.
        column: The number of elements from a pixel to the pixel at its right.
        offsets: Where the rows of a window begin, counted from its first element, (planes * s,) int64.
        starts: Where the images begin, (B,) int64.
    """

    side: int
    planes: int
    run: int
    item: int
    row: int
    column: int
    offsets: Tensor
    starts: Tensor

    def rows(self, donor: Tensor, top: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """Return where in memory the rows of windows begin: those cut from donors, and those pasted into targets.

        Args:
            donor: The images to cut from, (n,) int64. The targets are the images of the batch in order, n / B times.
            top: The first row of each window, (2, n) int64: of the cut and of the paste.
            left: The first column of each window, (2, n) int64: of the cut and of the paste.

        Returns:
            The beginnings of the cut rows and of the pasted rows, both (n, planes * s) int64.
        """
        first = torch.mul(left, self.column).add_(top, alpha=self.row)
        cut, paste = first.unbind()
        times = len(donor) // len(self.starts)
        cut.add_(donor, alpha=self.item)
        paste.add_(self.starts if times == 1 else self.starts.repeat(times))
        from_rows, to_rows = (first.unsqueeze(2) + self.offsets).unbind()
        return from_rows, to_rows

    def read(self, images: Tensor, rows: Tensor) -> Tensor:
        """Copy windows out of the images: (n, planes, s, run), in the order of memory."""
        if images.requires_grad:
            runs = self._elements(images)[self._pixels(rows)]
        else:
            runs = self._runs(images).index_select(0, rows.view(-1))
        return runs.view(-1, self.planes, self.side, self.run)

    def write(self, images: Tensor, rows: Tensor, windows: Tensor) -> None:
        """Copy windows, in the shape that `read` returns, into the images. No two windows may overlap."""
        runs = windows.view(-1, self.run)
        if images.requires_grad:
            self._elements(images)[self._pixels(rows)] = runs
        else:
            self._runs(images).index_copy_(0, rows.view(-1), runs)

    def as_images(self, windows: Tensor) -> Tensor:
        """View windows, in the shape that `read` returns, as (n, C, s, s) images."""
        if self.run == self.side:
            return windows
        return windows.view(len(windows), self.side, self.side, -1).permute(0, 3, 1, 2)

    def _runs(self, images: Tensor) -> Tensor:
        return images.as_strided((images.numel() - self.run + 1, self.run), (1, 1))

    # Autograd would compute wrong gradients through overlapping runs, so images with a gradient go pixel by pixel.

    def _elements(self, images: Tensor) -> Tensor:
        return (images if self.column == 1 else images.permute(0, 2, 3, 1)).view(-1)

    def _pixels(self, rows: Tensor) -> Tensor:
        return rows.view(-1, 1) + torch.arange(self.run, device=rows.device)


def windows_of(images: Tensor, side: int) -> Windows:
    """Return the windows of dense images, contiguous or contiguous with channels last."""
    return _windows(tuple(images.shape), images.is_contiguous(), side, images.device)


@lru_cache(maxsize=16)
def _windows(shape: tuple[int, ...], channels_first: bool, side: int, device: torch.device) -> Windows:
    batch, channels, height, width = shape
    item = channels * height * width
    # Tensors made in inference mode could not be used in a later training step, and these are kept.
    with torch.inference_mode(False):
        rows = torch.arange(side, device=device)
        starts = torch.arange(batch, device=device) * item
        if channels_first:
            planes = torch.arange(channels, device=device)[:, None] * (height * width)
            return Windows(side, channels, side, item, width, 1, (planes + rows * width).flatten(), starts)
        row = width * channels
        return Windows(side, 1, side * channels, item, row, channels, rows * row, starts)
