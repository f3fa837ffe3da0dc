"""Hide-and-Seek: cut each image into a grid of cells and hide each cell by the toss of a coin; labels stay."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from backmix.augmentations.base import Augmentation
from backmix.augmentations.share import Share


class HideAndSeek(Augmentation):
    """Each image draws a size of cells, and each of its cells is hidden or not.

    Singh and Lee, "Hide-and-Seek: Forcing a Network to be Meticulous for Weakly-supervised Object and Action
    Localization", ICCV 2017, with the mixed sizes of their release: none, 16, 32, 44 or 56 px at 224 px.

    Args:
        cells: sides of a cell as shares of the image's shorter side, each as likely; 0 hides nothing.
        probability: with which a cell is hidden (paper: 0.5).
        fill_value: what hidden pixels become, in the units of the images. The paper's is the training set's mean pixel,
            so that a first layer's activations stay the same in expectation: 0 when images are normalised by that mean.
            With a mean of 0.5 whatever the images, 0 is mid grey, near it.
        generator: source of randomness; torch's global one when None.

    Raises:
        ValueError: for no cells, or cells or a probability outside 0..1.
    """

    name = "hide-and-seek"
    options = ("cells", "probability", "fill_value")
    after_crop = True
    looks_at_others = False

    def __init__(
        self,
        *,
        cells: Sequence[float] = (0.0, 16 / 224, 32 / 224, 44 / 224, 56 / 224),
        probability: float = 0.5,
        fill_value: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(probability=probability, generator=generator)
        fits = bool(cells) and min(cells) >= 0 and max(cells) <= 1
        self._check(fits, f"cells are shares of the image's shorter side, 0..1; got {cells}")
        self.cells = tuple(cells)
        self.fill_value = fill_value

    def draw(self, batch: int, height: int, width: int, /) -> tuple[Tensor, Tensor]:
        """Draw for each image the side of its cells and which of them are hidden.

        Returns:
            (B,) int64 pixels, 0: nothing is hidden; (B, n, m) bool, where n by m is the finest grid.
        """
        sides = [max(1, round(share * min(height, width))) if share else 0 for share in self.cells]
        finest = min((side for side in sides if side), default=max(height, width))
        chosen = self._randint(0, len(sides), batch)
        hidden = self._rand(batch, -(-height // finest), -(-width // finest)) < self.probability
        return torch.tensor(sides, device=chosen.device)[chosen], hidden

    def change(self, images: Tensor, draw: tuple[Tensor, Tensor]) -> Tensor:
        """Hide in (B, C, H, W) as drawn; returns a new tensor."""
        batch, _, height, width = images.shape
        side, hidden = (each.to(images.device) for each in draw)
        step = side.clamp_min(1)[:, None]
        # Where nothing is hidden the step is a pixel; clamped, that reads some cell, which is then not minded.
        row = (torch.arange(height, device=images.device) // step).clamp_max(hidden.shape[1] - 1)
        column = (torch.arange(width, device=images.device) // step).clamp_max(hidden.shape[2] - 1)
        item = torch.arange(batch, device=images.device)[:, None, None]
        covered = hidden[item, row[:, :, None], column[:, None, :]] & (side > 0)[:, None, None]
        return images.clone().masked_fill_(covered[:, None], self.fill_value)

    def part(self, draw: tuple[Tensor, Tensor], share: Share) -> tuple[Tensor, Tensor]:
        """The sides and hidden cells for the images of this process."""
        return share.own(draw[0]), share.own(draw[1])
