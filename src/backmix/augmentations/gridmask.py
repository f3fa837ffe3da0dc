"""GridMask: hide a regular grid of squares, turned and shifted for each image; labels stay."""

from __future__ import annotations

from math import radians
from typing import NamedTuple

import torch
from torch import Tensor

from backmix.augmentations.base import Augmentation
from backmix.augmentations.share import Share


class GridMaskDraw(NamedTuple):
    """What chance decides for each image.

    Attributes:
        period: (B,) int64, pixels from square to square.
        offset: (2, B) int64, down and across, 0..period - 1.
        angle: (B,) int64, degrees, counterclockwise around the centre of the image.
        given: (B,) bool, whether anything is hidden.
    """

    period: Tensor
    offset: Tensor
    angle: Tensor
    given: Tensor


class GridMask(Augmentation):
    """Squares of side period - ceil(ratio * period) are hidden, once every period in both directions.

    Chen, Liu, Zhao, Jia, "GridMask Data Augmentation", 2020, with the release's ImageNet settings: mode 1, in which
    stripes are kept and squares hidden, (1 - ratio)^2 of the area. The mask is computed where it is seen instead of
    being turned as a picture. The release raises the probability from 0 over the first 240 epochs; an augmentation does
    not know how far the training is, so there is no such rise here. A lower `probability` is the nearest thing.

    Args:
        shortest: least period as a share of the image's shorter side (paper: 96 of 224 px).
        longest: bound of the period, which stays below it (paper: 224 of 224 px).
        ratio: width of the kept stripes as a share of the period (paper: 0.6).
        rotate: the grid is turned by a whole number of degrees, 0..rotate - 1 (paper: 360); 1 leaves it upright.
        fill_value: what hidden pixels become, in the units of the images; the paper's is 0 after normalisation.
        probability: share of the images that are masked (paper: 0.8).
        generator: source of randomness; torch's global one when None.

    Raises:
        ValueError: for an option outside its range, with the range.
    """

    name = "gridmask"
    options = ("shortest", "longest", "ratio", "rotate", "fill_value", "probability")
    after_crop = True
    looks_at_others = False

    def __init__(
        self,
        *,
        shortest: float = 96 / 224,
        longest: float = 1.0,
        ratio: float = 0.6,
        rotate: int = 360,
        fill_value: float = 0.0,
        probability: float = 0.8,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(probability=probability, generator=generator)
        self._check(
            0 < shortest <= longest,
            f"shortest and longest are shares of the image's shorter side, 0 < shortest <= longest; "
            f"got {shortest} and {longest}",
        )
        self._check(0 <= ratio <= 1, f"ratio lies in 0..1; got {ratio}")
        self._check(rotate >= 1, f"rotate is a number of degrees, 1 or more; got {rotate}")
        self.shortest = shortest
        self.longest = longest
        self.ratio = ratio
        self.rotate = rotate
        self.fill_value = fill_value

    def draw(self, batch: int, height: int, width: int, /) -> GridMaskDraw:
        """Draw a grid for each of `batch` images of height x width pixels."""
        side = min(height, width)
        low = max(1, round(self.shortest * side))
        high = max(low + 1, round(self.longest * side))
        period = self._randint(low, high, batch)
        offset = (self._rand(2, batch) * period).long()
        angle = self._randint(0, self.rotate, batch)
        given = self._rand(batch) < self.probability
        return GridMaskDraw(period, torch.minimum(offset, period - 1), angle, given)

    def change(self, images: Tensor, draw: GridMaskDraw) -> Tensor:
        """Hide in (B, C, H, W) as drawn; returns a new tensor."""
        height, width = images.shape[2:]
        device = images.device
        period = draw.period.to(device)[:, None, None]
        down, across = draw.offset.to(device)[:, :, None, None]
        turn = (draw.angle.to(device).float() * radians(1))[:, None, None]
        y = (torch.arange(height, device=device) - (height - 1) / 2)[:, None]
        x = torch.arange(width, device=device) - (width - 1) / 2
        kept = torch.ceil(period * self.ratio - 1e-6)  # 0.6 * 15 is a hair above 9 in floating point.
        # A hair more, so that at right angles rounding does not fray the edges.
        row = torch.floor(turn.cos() * y + turn.sin() * x + 1e-3).long() + down
        column = torch.floor(turn.cos() * x - turn.sin() * y + 1e-3).long() + across
        hidden = (row % period >= kept) & (column % period >= kept) & draw.given.to(device)[:, None, None]
        return images.clone().masked_fill_(hidden[:, None], self.fill_value)

    def part(self, draw: GridMaskDraw, share: Share) -> GridMaskDraw:
        """The grids of the images of this process."""
        return GridMaskDraw(*(share.own(drawn, -1) for drawn in draw))
