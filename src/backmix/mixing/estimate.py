"""The foreground estimate of a batch. It comes from the bank, from true masks, from the centre or from chance."""

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
    """The rule that decides which cells of each image are its foreground.

    Attributes:
        bank: The foreground bank, which holds the evidence of each cell.
        kind: One of `FOREGROUNDS`, see `BackMix`.
        cells: The number of cells that are foreground.
        selection: "topk" or "random", see `BackMix`. It is used only if the bank is read.
        unseen: "skip" or "unmasked", see `BackMix`.
    """

    bank: ForegroundBank
    kind: str
    cells: int
    selection: str
    unseen: str

    @property
    def reads_bank(self) -> bool:
        """Whether the cells are chosen by the maps of the bank."""
        return self.kind in ("free", "clean")

    @property
    def finds_nothing(self) -> bool:
        """Whether no pixel is ever foreground."""
        return self.kind == "none" or (self.kind != "masks" and self.cells == 0)

    def draw(self, batch: int, generator: torch.Generator | None) -> Tensor | None:
        """Draw the exponential distances by which cells are chosen at random.

        Args:
            batch: The number of images B.
            generator: The source of randomness. None: torch's global generator.

        Returns:
            The distances, (B, g, g) float, or None if no cell is chosen at random.
        """
        if self.kind != "random" and not (self.reads_bank and self.selection == "random"):
            return None
        shape = (batch, self.bank.grid, self.bank.grid)
        return torch.empty(shape, device=device_of(generator)).exponential_(generator=generator)

    def foreground(
        self, index: Tensor, race: Tensor | None, size: tuple[int, int], view: View | None, masks: Tensor | None
    ) -> Foreground | None:
        """Return the foreground of a batch, or None if nothing is masked.

        Args:
            index: The position of each image in the training set, (B,) int64.
            race: The distances that `draw` returned.
            size: The rows and columns of the batch, in pixels.
            view: The part of the whole images that the batch shows. None: all of it.
            masks: The true masks, (B, H, W) bool. Only the kind "masks" uses them.
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
            # Each cell is a runner with its evidence as speed. Over exponential distances the probability to come
            # first is proportional to the speed: sampling without replacement (Efraimidis and Spirakis 2006).
            cells = top_cells(self.bank.read(index).clamp_min(1e-6) / race, self.cells)
        if self.unseen == "unmasked":
            cells = cells & self.bank.seen[index][:, None, None]
        return Foreground(cells, size, view)
