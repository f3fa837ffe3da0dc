"""Square windows of a batch, read and written a row at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """How the s x s windows of dense (B, C, H, W) images lie in memory.

    A row of a window is one run of memory: s pixels of one channel, or of all channels where these come last. Copying
    whole runs is several times faster than copying pixel by pixel. In memory a window has the shape (planes, s, run),
    where planes is C or, channels last, 1. All of it follows from the shape, so it is made once: see `windows_of`.

    Attributes:
        side: s in pixels.
        planes: C, or 1 when channels come last.
        run: elements in a row of a window.
        item: elements from an image to the next.
        row: elements from a pixel to the one below.
        column: elements from a pixel to the one at its right.
        offsets: (planes * s,) int64, where the rows of a window begin, counted from its first element.
        starts: (B,) int64, where the images begin.
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
        """Where in memory the rows of windows begin: those that are cut from donors, and those they are pasted into.

        Args:
            donor: (n,) int64 images to cut from. To paste into, the images come in turn, n / B times.
            top: (2, n) int64 first row of each window, cut and pasted.
            left: (2, n) int64 first column of each.

        Returns:
            Both (n, planes * s) int64.
        """
        first = torch.mul(left, self.column).add_(top, alpha=self.row)
        cut, paste = first.unbind()
        times = len(donor) // len(self.starts)
        cut.add_(donor, alpha=self.item)
        paste.add_(self.starts if times == 1 else self.starts.repeat(times))
        from_rows, to_rows = (first.unsqueeze(2) + self.offsets).unbind()
        return from_rows, to_rows

    def read(self, images: Tensor, rows: Tensor) -> Tensor:
        """Copy windows out of the images: (n, planes, s, run), as they lie in memory."""
        if images.requires_grad:
            runs = self._elements(images)[self._pixels(rows)]
        else:
            runs = self._runs(images).index_select(0, rows.view(-1))
        return runs.view(-1, self.planes, self.side, self.run)

    def write(self, images: Tensor, rows: Tensor, windows: Tensor) -> None:
        """Copy windows, as `read` gives them, into the images; no two of them may overlap."""
        runs = windows.view(-1, self.run)
        if images.requires_grad:
            self._elements(images)[self._pixels(rows)] = runs
        else:
            self._runs(images).index_copy_(0, rows.view(-1), runs)

    def as_images(self, windows: Tensor) -> Tensor:
        """View windows, as `read` gives them, as (n, C, s, s) images."""
        if self.run == self.side:
            return windows
        return windows.view(len(windows), self.side, self.side, -1).permute(0, 3, 1, 2)

    def _runs(self, images: Tensor) -> Tensor:
        return images.as_strided((images.numel() - self.run + 1, self.run), (1, 1))

    # Through writes into overlapping runs autograd would carry wrong gradients, so then it is pixel by pixel.

    def _elements(self, images: Tensor) -> Tensor:
        return (images if self.column == 1 else images.permute(0, 2, 3, 1)).view(-1)

    def _pixels(self, rows: Tensor) -> Tensor:
        return rows.view(-1, 1) + torch.arange(self.run, device=rows.device)


def windows_of(images: Tensor, side: int) -> Windows:
    """Windows of dense images: contiguous, or contiguous with channels last."""
    return _windows(tuple(images.shape), images.is_contiguous(), side, images.device)


@lru_cache(maxsize=16)
def _windows(shape: tuple[int, ...], channels_first: bool, side: int, device: torch.device) -> Windows:
    batch, channels, height, width = shape
    item = channels * height * width
    # Outside of inference mode, where what is kept could not be used in a later training step.
    with torch.inference_mode(False):
        rows = torch.arange(side, device=device)
        starts = torch.arange(batch, device=device) * item
        if channels_first:
            planes = torch.arange(channels, device=device)[:, None] * (height * width)
            return Windows(side, channels, side, item, width, 1, (planes + rows * width).flatten(), starts)
        row = width * channels
        return Windows(side, 1, side * channels, item, row, channels, rows * row, starts)
