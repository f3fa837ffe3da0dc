"""Hide-and-Seek cuts each image into a grid of cells and hides cells at random. Labels do not change."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from backmix.augmentations.base import Augmentation
from backmix.augmentations.share import ProcessPart


class HideAndSeek(Augmentation):
    """An augmentation that draws a cell size for each image, and for each cell whether it is hidden.

    Singh and Lee, "Hide-and-Seek: Forcing a Network to be Meticulous for Weakly-supervised Object and Action
    Localization", ICCV 2017, with the mixed sizes of their release: none, 16, 32, 44 or 56 px at 224 px.

    Args:
        cells: The possible sides of a cell, as shares of the shorter side of the image, each with the same
            probability; 0 hides nothing.
        probability: The probability that a cell is hidden (paper: 0.5).
        fill_value: The value of hidden pixels, in the units of the images. The paper takes the mean pixel of the
            training set, so that the expected activations of the first layer do not change; this is 0 if images are
            normalised by that mean. If they are normalised by a mean of 0.5, 0 is mid grey, which is near the mean
            pixel.
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If there are no cells, or if a cell or the probability is outside 0..1.
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
        """Draw the side of the cells of each image, and which cells are hidden.

        Returns:
            The sides in pixels, (B,) int64, where 0 hides nothing; and the hidden cells, (B, n, m) bool, where n by m
            is the finest grid.
        """
        sides = [max(1, round(share * min(height, width))) if share else 0 for share in self.cells]
        finest = min((side for side in sides if side), default=max(height, width))
        chosen = self._randint(0, len(sides), batch)
        hidden = self._rand(batch, -(-height // finest), -(-width // finest)) < self.probability
        return torch.tensor(sides, device=chosen.device)[chosen], hidden

    def change(self, images: Tensor, draw: tuple[Tensor, Tensor]) -> Tensor:
        """Hide the cells of (B, C, H, W) images as drawn. Return a new tensor."""
        batch, _, height, width = images.shape
        side, hidden = (each.to(images.device) for each in draw)
        step = side.clamp_min(1)[:, None]
        # If nothing is hidden, the step is one pixel. The clamped places then read some cell, which is ignored below.
        row = (torch.arange(height, device=images.device) // step).clamp_max(hidden.shape[1] - 1)
        column = (torch.arange(width, device=images.device) // step).clamp_max(hidden.shape[2] - 1)
        item = torch.arange(batch, device=images.device)[:, None, None]
        covered = hidden[item, row[:, :, None], column[:, None, :]] & (side > 0)[:, None, None]
        return images.clone().masked_fill_(covered[:, None], self.fill_value)

    def part(self, draw: tuple[Tensor, Tensor], share: ProcessPart) -> tuple[Tensor, Tensor]:
        """Return the sides and hidden cells for the images of this process."""
        return share.own(draw[0]), share.own(draw[1])
