"""GridMask hides a regular grid of squares, turned and shifted for each image. Labels do not change."""

from __future__ import annotations

from math import radians
from typing import NamedTuple

import torch
from torch import Tensor

from backmix.augmentations.base import Augmentation
from backmix.augmentations.share import ProcessPart


class GridMaskDraw(NamedTuple):
    """The random choices for each image.

    Attributes:
        period: The distance from one square to the next in pixels, (B,) int64.
        offset: The shift of the grid down and across, (2, B) int64 in 0..period - 1.
        angle: The angle in degrees, counterclockwise around the centre of the image, (B,) int64.
        given: Whether the image gets a mask, (B,) bool.
    """

    period: Tensor
    offset: Tensor
    angle: Tensor
    given: Tensor


class GridMask(Augmentation):
    """An augmentation that hides squares of side period - ceil(ratio * period), one per period in both directions.

    Chen, Liu, Zhao, Jia, "GridMask Data Augmentation", 2020, with the ImageNet settings of the release: mode 1, which
    keeps stripes and hides squares, (1 - ratio)^2 of the area. The mask is computed for each pixel; it is not turned as
    a picture. The release raises the probability from 0 over the first 240 epochs. An augmentation does not know how
    far the training is, so the probability is constant here; a lower `probability` is the nearest alternative.

    Args:
        shortest: The smallest period, as a share of the shorter side of the image (paper: 96 of 224 px).
        longest: The bound of the period, as a share of the shorter side; the period stays below it (paper: 224 of
            224 px).
        ratio: The width of the kept stripes, as a share of the period (paper: 0.6).
        rotate: The bound of the angle. The grid is turned by a whole number of degrees in 0..rotate - 1 (paper: 360);
            1 leaves it upright.
        fill_value: The value of hidden pixels, in the units of the images (paper: 0 after normalisation).
        probability: The share of the images that are masked (paper: 0.8).
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If an option is outside its range; the message gives the range.
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
        """Hide the squares in (B, C, H, W) images as drawn. Return a new tensor."""
        height, width = images.shape[2:]
        device = images.device
        period = draw.period.to(device)[:, None, None]
        down, across = draw.offset.to(device)[:, :, None, None]
        turn = (draw.angle.to(device).float() * radians(1))[:, None, None]
        y = (torch.arange(height, device=device) - (height - 1) / 2)[:, None]
        x = torch.arange(width, device=device) - (width - 1) / 2
        kept = torch.ceil(period * self.ratio - 1e-6)  # 0.6 * 15 is slightly above 9 in floating point.
        # The small term keeps edges straight at right angles in spite of rounding.
        row = torch.floor(turn.cos() * y + turn.sin() * x + 1e-3).long() + down
        column = torch.floor(turn.cos() * x - turn.sin() * y + 1e-3).long() + across
        hidden = (row % period >= kept) & (column % period >= kept) & draw.given.to(device)[:, None, None]
        return images.clone().masked_fill_(hidden[:, None], self.fill_value)

    def part(self, draw: GridMaskDraw, share: ProcessPart) -> GridMaskDraw:
        """Return the grids of the images of this process."""
        return GridMaskDraw(*(share.own(drawn, -1) for drawn in draw))
