"""Random flip, shift and zoom of a batch on its device. Each image has its own draw, and the view is returned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backmix.mixing.checks import check
from backmix.mixing.draw import device_of
from backmix.mixing.uncompiled import uncompiled
from backmix.mixing.view import View


class FlipCrop:
    """A random flip and shift of each image, and a zoom if `zoom` is above 0.

    The order of the paper is mix, then flip, then crop. Call this on the mixed batch, and give the returned view to
    `BackMix.update(..., after=view)`.

    Args:
        pad: The largest shift in each direction, in pixels.
        flip: The probability that an image is mirrored left to right.
        padding: What shows beyond the border. "reflect" mirrors the image at its border (CSSR); "zeros" shows black or
            mid grey, depending on the normalisation (the BackMix release).
        zoom: The largest change of height and of width as a share; the two are drawn separately. 0.2 shows between 0.8
            and 1.2 of the image's extent, interpolated. 0 keeps pixels as they are.
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If `pad` is negative, a probability or the zoom is out of its range or the padding is unknown, or
            (on a call) if the images are too small to reflect.
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

    @uncompiled
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

    @uncompiled
    def apply(self, images: Tensor, view: View) -> Tensor:
        """Show each image through its view. Pixels are copied without zoom and interpolated with zoom.

        Args:
            images: The images, (B, C, H, W) of any dtype.
            view: The view that was drawn for these images.

        Returns:
            The images as shown, (B, C, H, W) of the same dtype, channels last in memory.
        """
        batch, channels, height, width = images.shape
        if self.padding == "reflect" and self.pad >= min(height, width):
            raise ValueError(f"cannot reflect {self.pad} pixels of a {height}x{width} image; choose a smaller pad")
        view = view.to(images.device)
        if self.zoom:
            return self._interpolate(images, view)
        # One flat index over the elements is several times faster than three indices side by side, and int32 is faster
        # still. The channels come last, the layout in which convolutions are fastest.
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
        """Draw and apply: (B, C, H, W) -> (B, C, H, W) and the drawn view."""
        if images.ndim != 4:
            raise ValueError(f"images must be (B, C, H, W); got {tuple(images.shape)}")
        view = self.draw(len(images), images.shape[2], images.shape[3])
        return self.apply(images, view), view


def _reflect(position: Tensor, size: int) -> Tensor:
    position = position.abs()
    # Where images are padded with zeros, a position may lie further out than a reflection reaches. It is emptied later.
    return torch.where(position >= size, 2 * (size - 1) - position, position).clamp(min=0)
