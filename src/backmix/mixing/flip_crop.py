"""Random flip, shift and zoom of a whole batch on its device, drawn per image, with the view it leaves behind."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backmix.mixing.checks import check
from backmix.mixing.draw import device_of
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
        zoom: largest change of height and of width, each on its own, as a share: 0.2 shows between 0.8 and 1.2 of
            the image's extent, interpolated. 0 keeps pixels as they are.
        generator: source of randomness; the global one of torch when None.

    Raises:
        ValueError: for a negative pad, a probability outside 0..1, an unknown padding, or (when called) images too
            small to reflect.
    """

    def __init__(
        self,
        pad: int = 4,
        flip: float = 0.5,
        *,
        padding: str = "reflect",
        zoom: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        check(pad >= 0, f"pad is a number of pixels, 0 or more; got {pad}")
        check(0 <= flip <= 1, f"flip is a probability, 0..1; got {flip}")
        check(padding in ("reflect", "zeros"), f"padding is 'reflect' or 'zeros'; got {padding!r}")
        check(0 <= zoom < 1, f"zoom is a share of the extent, 0..1, below 1; got {zoom}")
        self.pad = pad
        self.flip = flip
        self.zoom = zoom
        self.padding = padding
        self.generator = generator

    def draw(self, batch: int, height: int, width: int) -> View:
        """Draw a shift, a zoom and a flip for each of `batch` images of height x width pixels."""
        device = device_of(self.generator)
        shift = torch.randint(-self.pad, self.pad + 1, (batch, 2), generator=self.generator, device=device)
        flip = torch.rand(batch, generator=self.generator, device=device) < self.flip
        corner = shift / torch.tensor([height, width], device=device)
        if not self.zoom:
            return View(torch.cat([corner, corner + 1], 1), flip)
        half = 0.5 + 0.5 * self.zoom * (2 * torch.rand(batch, 2, generator=self.generator, device=device) - 1)
        return View(torch.cat([corner + 0.5 - half, corner + 0.5 + half], 1), flip)

    def apply(self, images: Tensor, view: View) -> Tensor:
        """Show each image through its view: to the pixel without zoom, interpolated with it.

        Args:
            images: (B, C, H, W), any dtype.
            view: as drawn for these images.

        Returns:
            (B, C, H, W), the same dtype, channels last in memory.
        """
        batch, channels, height, width = images.shape
        if self.padding == "reflect" and self.pad >= min(height, width):
            raise ValueError(f"cannot reflect {self.pad} pixels of a {height}x{width} image; choose a smaller pad")
        view = view.to(images.device)
        if self.zoom:
            return self._interpolate(images, view)
        # One flat index over the elements, channels last, the layout convolutions like best: several times faster than
        # three indices side by side, and faster still in half the bytes.
        whole = torch.int32 if images.numel() < 2**31 else torch.int64
        item = torch.arange(batch, device=images.device)[:, None]
        channel = torch.arange(channels, device=images.device)
        top = (view.boxes[:, :1] * height).round().long()
        left = (view.boxes[:, 1:2] * width).round().long()
        rows = top + torch.arange(height, device=images.device)
        columns = torch.arange(width, device=images.device).expand(batch, -1)
        columns = left + torch.where(view.flip[:, None], width - 1 - columns, columns)
        from_row = ((item * height + _reflect(rows, height)) * (width * channels)).to(whole)
        from_column = ((_reflect(columns, width) * channels)[:, :, None] + channel).flatten(1).to(whole)
        index = from_row[:, :, None] + from_column[:, None, :]
        pixels = images.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).flatten()
        shown = pixels.index_select(0, index.view(-1)).view(index.shape)
        if self.padding == "zeros":
            shown *= ((rows >= 0) & (rows < height)).to(images.dtype)[:, :, None]
            inside = ((columns >= 0) & (columns < width)).repeat_interleave(channels, dim=1)
            shown *= inside.to(images.dtype)[:, None, :]
        return shown.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def _interpolate(self, images: Tensor, view: View) -> Tensor:
        centre, half = view.centre_and_half()
        theta = torch.cat([torch.diag_embed(half), centre[:, :, None]], 2)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        mode = "reflection" if self.padding == "reflect" else "zeros"
        shown = F.grid_sample(images.float(), grid, padding_mode=mode, align_corners=False)
        return shown.to(images.dtype, memory_format=torch.channels_last)

    def __call__(self, images: Tensor) -> tuple[Tensor, View]:
        """Draw and apply: (B, C, H, W) -> (B, C, H, W) and the view that was drawn."""
        if images.ndim != 4:
            raise ValueError(f"images must be (B, C, H, W); got {tuple(images.shape)}")
        view = self.draw(len(images), images.shape[2], images.shape[3])
        return self.apply(images, view), view


def _reflect(position: Tensor, size: int) -> Tensor:
    position = position.abs()
    # Where images are padded with zeros, a position may lie further out than a reflection reaches. It is emptied later.
    return torch.where(position >= size, 2 * (size - 1) - position, position).clamp(min=0)
