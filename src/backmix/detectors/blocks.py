"""Features in blocks of rows, and a linear map of which only distances count, at half the price."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

ROWS = 512  # The number of images whose features are in memory a second time.
PANEL = 128  # The number of columns of a map that are computed at once.


def centred_blocks(features: Tensor, centre: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Yield the places of at most `ROWS` images, and their features less a centre.

    The difference is taken in float64, so that features far from 0 lose no digits, and rounded afterwards. All blocks
    share their memory: fresh memory would cost more time than the difference. Use a block before you take the next one.

    Args:
        features: (B, C) float features of any float dtype, on the CPU.
        centre: (C,) float64.
        dtype: The dtype of the blocks.
    """
    space = torch.empty(min(len(features), ROWS), len(centre), dtype=dtype)
    for at in range(0, len(features), ROWS):
        block = space[: len(features[at : at + ROWS])]
        torch.sub(features[at : at + ROWS], centre, out=block)
        yield slice(at, at + len(block)), block


class TriangularMap:
    """A linear map x -> x L after which all lengths and distances are those after x -> x W, with L lower triangular.

    W Q has the lengths of W for every orthogonal Q, and one Q makes it lower triangular (the QR decomposition of W^T):
    entry (i, j) of L is 0 for i < j. The products with these zeros, almost half of all for a square W, are left out.

    Args:
        matrix: (C, D) float64, the map W.

    Attributes:
        matrix: (C, min(C, D)) float64, the map L.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix: Tensor = torch.linalg.qr(matrix.T).R.T
        self._panels: dict[torch.dtype, list[Tensor]] = {}

    def __call__(self, rows: Tensor, out: Tensor) -> Tensor:
        """Write rows (B, C) float32 or float64 after the map to `out` (B or more, min(C, D)), and return them."""
        mapped = out[: len(rows)]
        for number, panel in enumerate(self._panels_in(rows.dtype)):
            at = number * PANEL
            torch.mm(rows[:, at:], panel, out=mapped[:, at : at + PANEL])
        return mapped

    def _panels_in(self, dtype: torch.dtype) -> list[Tensor]:
        """Return the columns of L in panels, without the rows of zeros above them. They are made on first use."""
        if dtype not in self._panels:
            starts = range(0, self.matrix.shape[1], PANEL)
            self._panels[dtype] = [self.matrix[at:, at : at + PANEL].to(dtype).contiguous() for at in starts]
        return self._panels[dtype]
