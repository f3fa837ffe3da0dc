"""Where a batch of crops lies in its images: maps go from image to view and back.

A foreground map belongs to the whole image, the network sees a crop of it. `View` says, image by image, which box was
seen and whether it was mirrored, so that the bank's map can follow the crop and a class activation map can find its
way home.
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
        boxes: (B, 4) float; top, left, bottom, right as fractions of the image's height and width. May reach outside
            0..1 where the crop was padded.
        flip: (B,) bool; whether the box was mirrored left to right after cropping.

    Raises:
        ValueError: for shapes other than these, or a box without area.
    """

    boxes: Tensor
    flip: Tensor

    def __post_init__(self) -> None:
        """Refuse what cannot be a view, before it turns into a silent shift of the maps."""
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
        """Centre and half extent of each box, (B, 2) as x, y on a scale where the image spans -1..1.

        The half extent in x is negative where the box was mirrored, as sampling grids want it.
        """
        top, left, bottom, right = self.boxes.float().unbind(1)
        centre = torch.stack([left + right - 1, top + bottom - 1], 1)
        sign = torch.where(self.flip, -1.0, 1.0)
        return centre, torch.stack([(right - left) * sign, bottom - top], 1)

    def fractions(self, rows: Tensor, columns: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Where pixel centres of the view lie in the image.

        Args:
            rows: (B, h) integer pixel rows of the view.
            columns: (B, w) integer pixel columns of the view.
            height: rows of the view in pixels.
            width: columns of the view in pixels.

        Returns:
            (B, h) and (B, w) float: fractions of the image's height and width.
        """
        columns = torch.where(self.flip[:, None], width - 1 - columns, columns)
        top, left, bottom, right = self.boxes[:, :, None].unbind(1)
        return (
            top + (rows + 0.5) / height * (bottom - top),
            left + (columns + 0.5) / width * (right - left),
        )


def to_view(maps: Tensor, view: View, size: tuple[int, int], *, mode: str = "bilinear") -> Tensor:
    """Cut from maps of whole images what the view shows.

    Args:
        maps: (B, h, w) float maps over whole images.
        view: what is seen of each image.
        size: rows and columns of the result.
        mode: "bilinear" or "nearest".

    Returns:
        (B, *size) float; 0 where the view lies outside the image.
    """
    centre, half = view.centre_and_half()
    return _sample(maps, centre, half, size, mode)[0]


def from_view(maps: Tensor, view: View, size: tuple[int, int], *, mode: str = "bilinear") -> tuple[Tensor, Tensor]:
    """Bring maps of what was seen back to the frame of the whole image.

    Args:
        maps: (B, h, w) float maps in the frame of the view.
        view: what was seen of each image.
        size: rows and columns of the result.
        mode: "bilinear" or "nearest".

    Returns:
        (B, *size) float maps over whole images and (B, *size) bool, true at cells whose centre was seen.
        Maps are 0 where nothing was seen.
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
    """Sample maps on a grid of boxes, both on a scale where the map spans -1..1; also tell what lies inside."""
    theta = torch.cat([torch.diag_embed(half), centre[:, :, None]], 2)
    grid = F.affine_grid(theta, [len(maps), 1, *size], align_corners=False)
    # A box that ends on a cell's centre includes it, whatever the rounding.
    inside = (grid.abs() <= 1 + 1e-5).all(-1)
    warped = F.grid_sample(maps[:, None].float(), grid, mode=mode, padding_mode="border", align_corners=False)
    return warped[:, 0] * inside, inside
