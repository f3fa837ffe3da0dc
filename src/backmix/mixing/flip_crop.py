"""Random flip and shifted crop of a whole batch on its device, drawn per image, with the view it leaves behind."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.mixing.view import View


class FlipCrop:
    """Mirror each image with some probability and shift it by up to `pad` pixels.

    The order of the paper is mix, then flip, then crop: call this on the mixed batch and hand the returned view to
    `BackMix.update(..., after=view)`.

    Args:
        pad: largest shift in pixels, per direction.
        flip: probability of mirroring left to right.
        padding: "reflect" mirrors the image at its border (CSSR), "zeros" shows black or mid grey, depending on the
            normalisation (the BackMix release).
        generator: source of randomness; the global one of torch when None.

    Raises:
        ValueError: for a negative pad, a probability outside 0..1, an unknown padding, or (when called) images too
            small to reflect.
    """

    def __init__(
        self, pad: int = 4, flip: float = 0.5, *, padding: str = "reflect", generator: torch.Generator | None = None
    ) -> None:
        if pad < 0:
            raise ValueError(f"pad is a number of pixels, 0 or more; got {pad}")
        if not 0 <= flip <= 1:
            raise ValueError(f"flip is a probability, 0..1; got {flip}")
        if padding not in ("reflect", "zeros"):
            raise ValueError(f"padding is 'reflect' or 'zeros'; got {padding!r}")
        self.pad = pad
        self.flip = flip
        self.padding = padding
        self.generator = generator

    def draw(self, batch: int, height: int, width: int) -> View:
        """Draw a shift and a flip for each of `batch` images of height x width pixels."""
        device = self.generator.device if self.generator is not None else torch.device("cpu")
        shift = torch.randint(-self.pad, self.pad + 1, (batch, 2), generator=self.generator, device=device)
        flip = torch.rand(batch, generator=self.generator, device=device) < self.flip
        top, left = shift[:, 0] / height, shift[:, 1] / width
        return View(torch.stack([top, left, top + 1, left + 1], 1), flip)

    def apply(self, images: Tensor, view: View) -> Tensor:
        """Show each image through its view, to the pixel.

        Args:
            images: (B, C, H, W), any dtype.
            view: as drawn for these images.

        Returns:
            (B, C, H, W), the same dtype, channels last in memory.
        """
        batch, _, height, width = images.shape
        if self.padding == "reflect" and self.pad >= min(height, width):
            raise ValueError(f"cannot reflect {self.pad} pixels of a {height}x{width} image; choose a smaller pad")
        view = view.to(images.device)
        top = (view.boxes[:, :1] * height).round().long()
        left = (view.boxes[:, 1:2] * width).round().long()
        rows = top + torch.arange(height, device=images.device)
        columns = torch.arange(width, device=images.device).expand(batch, -1)
        columns = left + torch.where(view.flip[:, None], width - 1 - columns, columns)
        item = torch.arange(batch, device=images.device)[:, None, None]
        # Advanced indices on a channels-last view copy each pixel once and leave the layout convolutions like best.
        shown = images.permute(0, 2, 3, 1)[
            item, _reflect(rows, height)[:, :, None], _reflect(columns, width)[:, None, :]
        ]
        if self.padding == "zeros":
            inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
            shown = shown * inside[..., None]
        return shown.permute(0, 3, 1, 2)

    def __call__(self, images: Tensor) -> tuple[Tensor, View]:
        """Draw and apply: (B, C, H, W) -> (B, C, H, W) and the view that was drawn."""
        if images.ndim != 4:
            raise ValueError(f"images must be (B, C, H, W); got {tuple(images.shape)}")
        view = self.draw(len(images), images.shape[2], images.shape[3])
        return self.apply(images, view), view


def _reflect(position: Tensor, size: int) -> Tensor:
    position = position.abs()
    return torch.where(position >= size, 2 * (size - 1) - position, position)
