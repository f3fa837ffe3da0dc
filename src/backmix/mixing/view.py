"""The part of each image that a batch of crops shows, and functions that move maps from image to view and back.

A foreground map belongs to the whole image, but the network sees a crop. `View` holds, for each image, the box that was
seen and whether it was mirrored. With it the map of the bank is cut as the image was, and a class activation map is
brought back to the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class View:
    """The part of each image that a batch shows.

    Args:
        boxes: The box of each image, (B, 4) float: top, left, bottom, right as fractions of the image's height and
            width. A box may reach outside 0..1 if the crop was padded.
        flip: Whether the box was mirrored left to right after cropping, (B,) bool.

    Raises:
        ValueError: If the shapes are others, or if a box has no area.
    """

    boxes: Tensor
    flip: Tensor

    def __post_init__(self) -> None:
        """Raise ValueError for boxes or flips that would silently shift the maps."""
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise ValueError(f"boxes must be (B, 4): top, left, bottom, right; got {tuple(self.boxes.shape)}")
        if self.flip.shape != self.boxes.shape[:1]:
            raise ValueError(f"flip must be ({len(self.boxes)},) like boxes; got {tuple(self.flip.shape)}")
        if self.boxes.device.type == "cpu" and not bool((self.boxes[:, 2:] > self.boxes[:, :2]).all()):
            raise ValueError("every box needs bottom > top and right > left")

    def to(self, device: torch.device | str) -> View:
        """Return the same view on another device."""
        return View(self.boxes.to(device, non_blocking=True), self.flip.to(device, non_blocking=True))

    def centre_and_half(self) -> tuple[Tensor, Tensor]:
        """Return the centre and the half extent of each box, both (B, 2): x and y on a scale where the image is -1..1.

        The half extent in x is negative if the box was mirrored, as sampling grids need it.
        """
        top, left, bottom, right = self.boxes.float().unbind(1)
        centre = torch.stack([left + right - 1, top + bottom - 1], 1)
        sign = torch.where(self.flip, -1.0, 1.0)
        return centre, torch.stack([(right - left) * sign, bottom - top], 1)

    def fractions(self, rows: Tensor, columns: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return where the pixel centres of the view lie in the image.

        Args:
            rows: The pixel rows of the view, (B, h) integer.
            columns: The pixel columns of the view, (B, w) integer.
            height: The height of the view, in pixels.
            width: The width of the view, in pixels.

        Returns:
            The places of the rows, (B, h) float, and of the columns, (B, w) float, as fractions of the image's height
            and width.
        """
        columns = torch.where(self.flip[:, None], width - 1 - columns, columns)
        top, left, bottom, right = self.boxes[:, :, None].unbind(1)
        return (
            top + (rows + 0.5) / height * (bottom - top),
            left + (columns + 0.5) / width * (right - left),
        )


def to_view(maps: Tensor, view: View, size: tuple[int, int], *, mode: str = "bilinear") -> Tensor:
    """Cut the part that the view shows out of maps of whole images.

    Args:
        maps: The maps of the whole images, (B, h, w) float.
        view: The part of each image that is seen.
        size: The rows and columns of the result.
        mode: "bilinear" or "nearest".

    Returns:
        The cut maps, (B, *size) float; 0 where the view lies outside the image.
    """
    centre, half = view.centre_and_half()
    return _sample(maps, centre, half, size, mode)[0]


def from_view(maps: Tensor, view: View, size: tuple[int, int], *, mode: str = "bilinear") -> tuple[Tensor, Tensor]:
    """Bring maps of a view back to the frame of the whole images.

    Args:
        maps: The maps in the frame of the view, (B, h, w) float.
        view: The part of each image that was seen.
        size: The rows and columns of the result.
        mode: "bilinear" or "nearest".

    Returns:
        The maps of the whole images, (B, *size) float, and (B, *size) bool, true at cells whose centre was seen. A map
        is 0 where nothing was seen.
    """
    centre, half = view.centre_and_half()
    theta = torch.diag_embed(1 / half)
    grid = F.affine_grid(
        torch.cat([theta, -(centre / half)[:, :, None]], 2), [len(maps), 1, *size], align_corners=False
    )
    inside = (grid.abs() <= 1).all(-1)
    warped = F.grid_sample(maps[:, None].float(), grid, mode=mode, padding_mode="border", align_corners=False)
    return warped[:, 0] * inside, inside


def _sample(maps: Tensor, centre: Tensor, half: Tensor, size: tuple[int, int], mode: str) -> tuple[Tensor, Tensor]:
    """Sample maps on a grid of boxes, given on a scale where the map is -1..1; also return which points lie inside."""
    theta = torch.cat([torch.diag_embed(half), centre[:, :, None]], 2)
    grid = F.affine_grid(theta, [len(maps), 1, *size], align_corners=False)
    # A box that ends on the centre of a cell includes the cell, whatever the rounding.
    inside = (grid.abs() <= 1 + 1e-5).all(-1)
    warped = F.grid_sample(maps[:, None].float(), grid, mode=mode, padding_mode="border", align_corners=False)
    return warped[:, 0] * inside, inside
