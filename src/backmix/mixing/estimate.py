"""Where the foreground estimate of a batch comes from: the bank, true masks, the centre, or chance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backmix.mixing.bank import ForegroundBank
from backmix.mixing.draw import device_of
from backmix.mixing.foreground import Foreground, centre_cells, top_cells
from backmix.mixing.view import View

FOREGROUNDS = ("free", "clean", "masks", "centre", "random", "none")


@dataclass(frozen=True)
class Estimate:
    """Says which cells of each image are its foreground.

    Attributes:
        bank: holds the evidence of each cell.
        kind: one of `FOREGROUNDS`, see `BackMix`.
        cells: how many cells are foreground.
        selection: "topk" or "random", see `BackMix`; matters where the bank is read.
        unseen: "skip" or "unmasked", see `BackMix`.
    """

    bank: ForegroundBank
    kind: str
    cells: int
    selection: str
    unseen: str

    @property
    def reads_bank(self) -> bool:
        """Whether the cells follow from the maps of the bank."""
        return self.kind in ("free", "clean")

    @property
    def finds_nothing(self) -> bool:
        """Whether no pixel is ever foreground."""
        return self.kind == "none" or (self.kind != "masks" and self.cells == 0)

    def draw(self, batch: int, generator: torch.Generator | None) -> Tensor | None:
        """Draw (B, g, g) float exponential distances, by which cells are chosen at random; None: chance decides none.

        Args:
            batch: how many images.
            generator: source of randomness; torch's global one when None.
        """
        if self.kind != "random" and not (self.reads_bank and self.selection == "random"):
            return None
        shape = (batch, self.bank.grid, self.bank.grid)
        return torch.empty(shape, device=device_of(generator)).exponential_(generator=generator)

    def foreground(
        self, index: Tensor, race: Tensor | None, size: tuple[int, int], view: View | None, masks: Tensor | None
    ) -> Foreground | None:
        """Foreground of a batch that shows `size` pixels, None where nothing is masked.

        Args:
            index: (B,) int64 positions in the training set.
            race: what `draw` returned.
            size: rows and columns of the batch in pixels.
            view: what the batch shows of the whole images; None: all of it.
            masks: (B, H, W) bool, of which the kind "masks" makes the foreground.
        """
        if self.kind == "masks":
            return None if masks is None else Foreground.of_masks(masks)
        if self.finds_nothing:
            return None
        if self.kind == "centre":
            centre = centre_cells(self.bank.grid, self.cells)
            return Foreground(centre.to(index.device).expand(len(index), -1, -1), size, view)
        if self.kind == "random":
            assert race is not None
            return Foreground(top_cells(race, self.cells), size, view)
        if race is None:
            packed = self.bank.packed_top(self.cells)
            if packed is not None and self.unseen == "skip":
                return Foreground.of_packed(packed, index, self.bank.grid, size, view)
            cells = self.bank.top(index, self.cells)
        else:
            # Runners of these speeds over exponential distances come in first with probability in proportion to
            # their speed: sampling without replacement (Efraimidis and Spirakis 2006).
            cells = top_cells(self.bank.read(index).clamp_min(1e-6) / race, self.cells)
        if self.unseen == "unmasked":
            cells = cells & self.bank.seen[index][:, None, None]
        return Foreground(cells, size, view)
