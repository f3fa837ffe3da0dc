"""The foreground bank: one running class activation map per training image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backmix.mixing.checks import check
from backmix.mixing.default_dtype import in_float32
from backmix.mixing.foreground import MOST_PACKED, pack_cells, top_cells, unpack_cells
from backmix.mixing.uncompiled import uncompiled

FLOAT_BYTES = 64 * 2**20  # Larger banks are kept in bytes: 1.28 million maps of 8x8 take 83 MB.


class ForegroundBank(nn.Module):
    """The running foreground map S of each training image, by its index in the training set.

    Each new map M changes it: `S <- (1 - momentum) S + momentum M` (Wang et al., BackMix, TPAMI 2025; constants of the
    release: 8x8 cells, start 0.5, momentum 0.1). Reading never changes the bank. The bank is a module without
    parameters, so that `state_dict` and `to` include it.

    Args:
        num_images: The number of training images N.
        grid: The number of cells per side g.
        momentum: The weight of the new map, above 0 and at most 1.
        dtype: torch.float32 or torch.uint8. uint8 takes a quarter of the memory, and values are rounded at random so
            that small steps are not lost. None: float32 up to 64 MiB and uint8 above.

    Attributes:
        maps: The maps, (N, g, g): 0..1 in float32, 0..255 in uint8.
        seen: Whether each image has had a first map, (N,) bool.

    Raises:
        ValueError: If there is no image or no cell, or if the momentum or the dtype is not allowed.
    """

    maps: Tensor
    seen: Tensor

    def __init__(
        self, num_images: int, *, grid: int = 8, momentum: float = 0.1, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        if num_images < 1 or grid < 1:
            raise ValueError(f"a bank needs at least one image and one cell; got {num_images} images, grid {grid}")
        check(0 < momentum <= 1, f"momentum is the weight of the new map, above 0 and at most 1; got {momentum}")
        if dtype is None:
            dtype = torch.float32 if num_images * grid * grid * 4 <= FLOAT_BYTES else torch.uint8
        check(dtype in (torch.float32, torch.uint8), f"dtype is torch.float32, torch.uint8 or None; got {dtype}")
        self.momentum = momentum
        start = 0.5 if dtype == torch.float32 else 128
        self.register_buffer("maps", torch.full((num_images, grid, grid), start, dtype=dtype))
        self.register_buffer("seen", torch.zeros(num_images, dtype=torch.bool))
        self._all_seen: tuple[Tensor, int] | None = None  # `seen` and its version when it was true everywhere.
        self._top: Tensor | None = None  # The highest cells of all images, packed; see `packed_top`.
        self._top_of: tuple[Tensor, int, int] | None = None  # The maps of `_top`, their version, the number of cells.

    @property
    def grid(self) -> int:
        """The number of cells per side."""
        return int(self.maps.shape[1])

    def __len__(self) -> int:
        """Return the number of images."""
        return self.maps.shape[0]

    @property
    def all_seen(self) -> bool:
        """Whether every image has had a map. Always false on an accelerator, because a look would wait for it."""
        seen = self.seen
        if self._all_seen is not None and self._all_seen[0] is seen and self._all_seen[1] == seen._version:
            return True
        if seen.device.type != "cpu" or seen.is_inference() or not bool(seen.all()):
            return False
        self._all_seen = (seen, seen._version)
        return True

    def read(self, index: Tensor) -> Tensor:
        """Return the maps of some images: (B,) int64 -> (B, g, g) float32 in 0..1."""
        self.check_index(index)
        return self._read(index)

    @torch.no_grad()
    def top(self, index: Tensor, count: int) -> Tensor:
        """Mark the `count` highest cells of some images: (B,) int64 -> (B, g, g) bool.

        Ties go to the cell that comes first in reading order.
        """
        packed = self.packed_top(count)
        if packed is None:
            return top_cells(self._read(index), count)
        return unpack_cells(packed.index_select(0, index), self.grid)

    def packed_top(self, count: int) -> Tensor | None:
        """Mark the `count` highest cells of all images.

        A bank in float32 remembers these cells: they change when a map changes, not when it is read.

        Returns:
            The cells, (N, g) int64, packed by `pack_cells`; do not write to them. None if they are not remembered; use
            `top` in this case.
        """
        if self._remembers(count):
            return self._top
        if self.maps.dtype == torch.uint8 or self.maps.is_inference() or self.grid > MOST_PACKED:
            return None
        # This is the first use, or the maps have been written to.
        with torch.no_grad():
            self._top = pack_cells(top_cells(self.maps.float(), count))
        self._top_of = (self.maps, self.maps._version, count)
        return self._top

    @in_float32
    @torch.no_grad()
    def update(
        self,
        index: Tensor,
        maps: Tensor,
        observed: Tensor | None = None,
        *,
        momentum: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Move the maps of some images towards new ones.

        Args:
            index: The position of each image in the training set, (B,) int64. If a position occurs twice, one of its
                maps is used.
            maps: The new maps of the whole images, (B, h, w) float in 0..1. They are resampled to the grid of the bank
                if h and w differ from it. Values outside 0..1 are clipped; cells that are not finite do not change.
            observed: Which cells the maps describe, (B, g, g) bool; the other cells do not change. None: all cells.
            momentum: The weight of the new maps; 1 puts them in place of the old ones. None: the momentum of the bank.
            generator: The source of randomness for the rounding of a uint8 bank. None: torch's global generator.

        Raises:
            ValueError: If shapes do not fit, or if an index is outside the bank (values are checked only on the CPU).
        """
        self.check_index(index)
        if maps.ndim != 3 or len(maps) != len(index) or not maps.is_floating_point():
            raise ValueError(
                f"maps must be ({len(index)}, h, w) float, one for each index; got {tuple(maps.shape)} {maps.dtype}"
            )
        shape = (len(index), self.grid, self.grid)
        if observed is not None and (observed.shape != shape or observed.dtype != torch.bool):
            raise ValueError(f"observed must be {shape} bool; got {tuple(observed.shape)} {observed.dtype}")
        new = resize_map(maps.float(), self.grid)
        old = self._read(index)
        finite = new.isfinite()
        observed = finite if observed is None else finite & observed
        # Not lerp: at momentum 1 the result must be exactly the new map, whatever the old map was.
        weight = self.momentum if momentum is None else momentum
        moved = (1 - weight) * old + weight * new.clamp(0, 1)
        moved = torch.where(observed, moved, old)
        if self.maps.dtype == torch.uint8:
            device = generator.device if generator is not None else self.maps.device
            dither = torch.rand(moved.shape, generator=generator, device=device).to(moved.device)
            # Cells that were not observed keep their whole number n: 255 * (n / 255) + dither could reach n + 1.
            moved = torch.where(observed, (moved * 255 + dither).floor(), (old * 255).round()).clamp(0, 255)
        count = self._top_of[2] if self._top_of is not None else 0
        current = self._remembers(count)
        self.maps[index] = moved.to(self.maps.dtype)
        if self._top is not None and current:
            self._top[index] = pack_cells(top_cells(moved, count))
            self._top_of = (self.maps, self.maps._version, count)
        if not self.all_seen:
            self.seen[index] = self.seen[index] | observed.flatten(1).any(1)

    @uncompiled
    def check_index(self, index: Tensor) -> None:
        """Raise ValueError unless `index` is (B,) int64 within the bank (values are checked only on the CPU)."""
        if index.ndim != 1 or index.dtype != torch.int64:
            raise ValueError(f"index must be (B,) int64 positions; got {tuple(index.shape)} {index.dtype}")
        # To read values from an accelerator would mean to wait for it at every step.
        # Read as unsigned numbers, negative ones are the largest, so one maximum finds errors at both ends.
        if index.device.type == "cpu" and index.numel() and int(index.numpy().view(np.uint64).max()) >= len(self):
            low, high = (int(end) for end in index.aminmax())
            raise ValueError(
                f"index must lie in 0..{len(self) - 1}, the images of the bank; got {low}..{high}. "
                "Was BackMix made with the length of this training set?"
            )

    def _remembers(self, count: int) -> bool:
        """Whether the remembered cells are `count` in number and the maps have not changed since."""
        if self._top_of is None:
            return False
        maps, version, remembered = self._top_of
        # A tensor made in inference mode has no version, so the cells of its maps are not remembered: `packed_top`.
        return maps is self.maps and version == maps._version and remembered == count

    def _read(self, index: Tensor) -> Tensor:
        maps = self.maps.index_select(0, index)
        return maps.float() / 255 if maps.dtype == torch.uint8 else maps.float()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        saved = state_dict.get(prefix + "maps")
        # If bytes were copied into floats, the maps would silently have values in 0..255.
        if isinstance(saved, Tensor) and (saved.dtype == torch.uint8) != (self.maps.dtype == torch.uint8):
            raise ValueError(
                f"the saved bank holds {saved.dtype}, this one {self.maps.dtype}; make it with dtype={saved.dtype}"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)


def resize_map(maps: Tensor, grid: int) -> Tensor:
    """Resample (B, h, w) maps to (B, grid, grid): bilinear upward, area average downward."""
    if maps.shape[1:] == (grid, grid):
        return maps
    if maps.shape[1] >= grid and maps.shape[2] >= grid:
        return F.adaptive_avg_pool2d(maps[:, None], grid)[:, 0]
    return F.interpolate(maps[:, None], (grid, grid), mode="bilinear", align_corners=False)[:, 0]
