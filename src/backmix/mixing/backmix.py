"""BackMix pastes patches of other images' backgrounds into the images of a batch and keeps the labels.

Wang, Mu, Huang, Wang, Zhu, Hu: BackMix: Regularizing Open Set Recognition by Removing Underlying Fore-Background
Priors, IEEE TPAMI 2025. BackMix does not change inference.

    mix = BackMix(len(train_set))
    images = mix(images, index)
    mix.update(index, class_activation_map(features, head.weight, labels))
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from backmix.mixing.bank import ForegroundBank, resize_map
from backmix.mixing.checks import check, check_cells, shape_of
from backmix.mixing.draw import Draw, device_of, draw_corners, draw_donors_of_other_classes
from backmix.mixing.estimate import FOREGROUNDS, Estimate
from backmix.mixing.paste import (
    backgrounds_of,
    paste_patches,
    pasted_cells,
    swap_backgrounds,
    swapped_cells,
    whole_cells,
)
from backmix.mixing.uncompiled import uncompiled
from backmix.mixing.view import View, from_view

CHOICES = {
    "selection": ("topk", "random"),
    "fill": ("grey", "mean", "noise", "elsewhere"),
    "donor": ("any", "other"),
    "foreground": FOREGROUNDS,
    "apply": ("patch", "swap"),
    "unseen": ("skip", "unmasked"),
}


class BackMix(nn.Module):
    """The BackMix augmentation.

    The donors are a permutation of the batch. The foreground of each donor is masked, and a patch of it is pasted into
    its target. The module holds the foreground bank, so `state_dict` has all of its state. In evaluation mode images
    pass unchanged.

    Args:
        num_images: The number of training images. `index` is a position among them.
        patch_side: The side of the square patch, as a share of the shorter side of the image (release: 0.25; the
            pictures of the project page: 0.5).
        num_patches: The number of patches per image (release: 1).
        foreground_share: The share of the cells that are foreground (release: 0.25). Not used with true masks.
        selection: How the foreground cells are chosen. "topk" takes the cells of highest evidence (release); "random"
            draws cells with a probability in proportion to their evidence.
        fill: What masked donor pixels become. "grey" is `fill_value` (release); "elsewhere" is the donor's own
            background from half the image away, which leaves no outline of its object; "mean" is the mean colour of
            the donor's background; "noise" is normal noise with the mean and deviation of the donor's background.
            None: "grey" for "patch" and "elsewhere" for "swap".
        fill_value: Mid grey in the units of the images: 0 for normalised images, 0.5 for 0..1, 128 for 0..255.
        momentum: The weight of a new map in the bank (release: 0.1).
        probability: The share of the images that are mixed. None: 1 for "patch" (release) and 0.5 for "swap", so that
            the network also sees whole pictures, as it does at prediction.
        donor: Which images can be donors: "any" image of the batch (release), or only images of an "other" class,
            which needs labels.
        foreground: The source of the foreground estimate. "free": the bank, fed with the maps of the training forward
            itself, where pasted cells do not change; "clean": the bank, fed with maps of the un-mixed images; "masks":
            true masks, given at each call; "centre": the cells nearest to the centre; "random": any cells; "none":
            nothing is masked.
        apply: "patch" pastes squares (the paper); "swap" replaces the whole estimated background of the target with
            the background of the donor.
        grid: The number of cells per side of the bank (release: 8).
        unseen: What happens to an image whose donor has no map yet. "skip" leaves the image as it is; "unmasked"
            pastes a patch without a mask. The release masks a meaningless band instead.
        inplace: Whether to paste into the given batch, which saves a copy. It is for loops that do not need the batch
            afterwards, and only for apply="patch".
        bank_dtype: The dtype of the bank, see `ForegroundBank`.
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If an option is outside its range; the message gives the range.
    """

    def __init__(
        self,
        num_images: int,
        *,
        patch_side: float = 0.25,
        num_patches: int = 1,
        foreground_share: float = 0.25,
        selection: str = "topk",
        fill: str | None = None,
        fill_value: float = 0.0,
        momentum: float = 0.1,
        probability: float | None = None,
        donor: str = "any",
        foreground: str = "free",
        apply: str = "patch",
        grid: int = 8,
        unseen: str = "skip",
        inplace: bool = False,
        bank_dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if fill is None:
            fill = "elsewhere" if apply == "swap" else "grey"
        if probability is None:
            probability = 0.5 if apply == "swap" else 1.0
        chosen = {
            "selection": selection,
            "fill": fill,
            "donor": donor,
            "foreground": foreground,
            "apply": apply,
            "unseen": unseen,
        }
        for option, value in chosen.items():
            check(value in CHOICES[option], f"{option} is one of {', '.join(CHOICES[option])}; got {value!r}")
        check(0 < patch_side <= 1, f"patch_side is a share of the image's side, in 0..1 and above 0; got {patch_side}")
        check(num_patches >= 1, f"num_patches is at least 1; got {num_patches}")
        for name, share in {"foreground_share": foreground_share, "probability": probability}.items():
            check(0 <= share <= 1, f"{name} lies in 0..1; got {share}")
        # The small term keeps a share of 3/49 at 3 cells of 49 in spite of rounding.
        self.foreground_cells = int(foreground_share * grid * grid + 1e-6)
        bank = ForegroundBank(num_images, grid=grid, momentum=momentum, dtype=bank_dtype)
        self.estimate = Estimate(bank, foreground, self.foreground_cells, selection, unseen)
        if apply == "swap" and self.estimate.finds_nothing:
            raise ValueError(
                'apply="swap" keeps the foreground alone, so it needs one: choose another foreground or share'
            )
        if inplace and apply == "swap":
            raise ValueError('inplace=True pastes patches into the batch that is given; apply="swap" makes a new one')
        self.patch_side = patch_side
        self.num_patches = num_patches
        self.foreground_share = foreground_share
        self.selection = selection
        self.fill = fill
        self.fill_value = fill_value
        self.probability = probability
        self.donor = donor
        self.foreground = foreground
        self.how = apply
        self.unseen = unseen
        self.inplace = inplace
        self.generator = generator
        self.bank = bank
        # The index of the batch mixed last, and a function that returns its pasted cells.
        self._last: tuple[Tensor, Callable[[], Tensor]] | None = None
        # Of the batch mixed last, the donors, and which images were mixed (None: all).
        self._chosen: tuple[Tensor, Tensor | None] | None = None

    @property
    def mixed(self) -> Tensor | None:
        """Which images of the batch mixed last show a part of another image, (B,) bool; None before the first batch."""
        if self._chosen is None:
            return None
        donor, mixed = self._chosen
        others = donor != torch.arange(len(donor), device=donor.device)
        return others if mixed is None else mixed & others

    @uncompiled
    def forward(
        self,
        images: Tensor,
        index: Tensor,
        *,
        labels: Tensor | None = None,
        masks: Tensor | None = None,
        view: View | None = None,
        draw: Draw | None = None,
    ) -> Tensor:
        """Mix a batch.

        Args:
            images: The images, (B, C, H, W), normalised (see `fill_value`). They do not change unless `inplace` is set.
            index: The position of each image in the training set, (B,) int64.
            labels: The class of each image, (B,) int64; needed only for donor="other". The result has the same labels.
            masks: The true masks in the frame of `images`, (B, H, W) bool, true on the object; needed only for
                foreground="masks".
            view: The part of the whole images that `images` show. None: all of it.
            draw: The random choices to use. None: draw them.

        Returns:
            The mixed images, (B, C, H, W), a new tensor; with `inplace` usually `images` themselves.

        Raises:
            ValueError: If shapes do not fit, or if labels or masks are needed and missing.
        """
        if not self.training:
            return images
        if images.ndim != 4:
            raise ValueError(f"images must be (B, C, H, W); got {tuple(images.shape)}")
        bank, device = self.bank, images.device
        batch, size = images.shape[0], (images.shape[2], images.shape[3])
        if shape_of(index) != (batch,):
            raise ValueError(f"index must be a tensor ({batch},), one for each image; got {shape_of(index)}")
        # A check of the index costs a tenth of the call. If the whole index is used to read the bank anyway, a wrong
        # index fails there, so the check can be left out.
        on_cpu = device.type == index.device.type == "cpu" and index.dtype == torch.int64
        read_anyway = self.estimate.reads_bank and self.foreground_cells > 0 and self.donor == "any" and draw is None
        if not (on_cpu and read_anyway):
            bank.check_index(index)
        if self.foreground == "masks":
            if masks is None:
                raise ValueError('foreground="masks" needs masks=(B, H, W) bool at every call')
            if masks.shape != (batch, *size):
                raise ValueError(f"masks must be {(batch, *size)} like the images; got {tuple(masks.shape)}")
            masks = masks.to(device, torch.bool)
        if view is not None:
            view = view.to(device)
        if bank.maps.device != device:
            bank.to(device)
        if draw is None:
            draw = self.draw(tuple(images.shape), labels=labels)
        try:
            return self._mix(images, index, draw.to(device), masks, view)
        except IndexError:
            bank.check_index(index)
            raise

    def _mix(self, images: Tensor, index: Tensor, draw: Draw, masks: Tensor | None, view: View | None) -> Tensor:
        bank, device = self.bank, images.device
        size = (images.shape[2], images.shape[3])
        position = index.to(device)
        foreground = self.estimate.foreground(position, draw.race, size, view, masks)
        mixed = draw.mixed
        if self.estimate.reads_bank and not bank.all_seen:
            seen = bank.seen.index_select(0, position)
            if self.unseen == "skip":
                donor_seen = seen.index_select(0, draw.donor)
                mixed = donor_seen if mixed is None else mixed & donor_seen
            if self.how == "swap":
                # A target without a map of its own would lose its object.
                mixed = seen if mixed is None else mixed & seen
        self._chosen = (draw.donor, mixed)
        fill_value = self.fill_value if self.fill == "grey" else None
        donors = None
        if self.fill == "elsewhere" and foreground is not None:
            donors = backgrounds_of(images, foreground, self.fill_value)
        if self.how == "swap":
            assert foreground is not None  # The constructor refuses to swap without a foreground.
            result, own = swap_backgrounds(images, draw, mixed, foreground, fill_value, donors=donors)
            self._last = (index, partial(swapped_cells, own, bank.grid))
        else:
            result = paste_patches(images, draw, mixed, foreground, fill_value, donors=donors, inplace=self.inplace)
            self._last = (index, partial(pasted_cells, draw.paste, draw.side, mixed, size, bank.grid))
        return result

    @uncompiled
    def draw(self, shape: tuple[int, ...], *, labels: Tensor | None = None) -> Draw:
        """Draw donors, places and noise for a batch of shape (B, C, H, W), without reading an image or the bank.

        The donors are a permutation of the batch. With donor="other" they are uniform among the images of other
        classes, and an image that has none in the batch is not mixed. Corners are uniform in 0..H-s and 0..W-s, both
        ends included.
        """
        batch, channels, height, width = shape
        device = device_of(self.generator)
        side = max(1, round(self.patch_side * min(height, width)))
        patches = self.num_patches
        corners = draw_corners(batch, patches, side, (height, width), self.generator)
        if self.donor == "other":
            if labels is None or labels.shape != (batch,):
                found = None if labels is None else tuple(labels.shape)
                raise ValueError(f'donor="other" needs labels=({batch},) at every call; got {found}')
            donor, mixed = draw_donors_of_other_classes(labels.to(device), self.generator)
        else:
            donor = torch.randperm(batch, generator=self.generator, device=device)
            mixed = None
        if self.probability < 1:
            chosen = torch.rand(batch, generator=self.generator, device=device) < self.probability
            mixed = chosen if mixed is None else mixed & chosen
        race = self.estimate.draw(batch, self.generator)
        noise = None
        if self.fill == "noise":
            size = (batch, channels, height, width) if self.how == "swap" else (patches, batch, channels, side, side)
            noise = torch.randn(size, generator=self.generator, device=device)
        return Draw(donor, mixed, corners, side, race, noise)

    @uncompiled
    @torch.no_grad()
    def observe(
        self, index: Tensor, maps: Tensor, *, view: View | None = None, after: View | None = None, mixed: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Bring class activation maps to the frame of the whole images, and return which cells they describe.

        Args:
            index: The index that was given to the mixing call, (B,) int64.
            maps: The class activation maps of the batch as the network saw it, (B, h, w) float in 0..1.
            view: The view that was given to the mixing call.
            after: The part of the mixed images that the network saw, if they were flipped or cropped after mixing.
            mixed: Whether the maps may be those of the batch mixed last. False: they are maps of whole images, as they
                are before training, and no cell of them was pasted.

        Returns:
            The maps, (B, g, g) float, and which cells they describe, (B, g, g) bool. A cell is false if it was out of
            view, if its map is 0 everywhere or, with foreground="free", if it overlaps a patch or background that was
            pasted into the batch mixed last.

        Raises:
            ValueError: If the shapes do not fit, or if the maps have one cell each and the bank is read.
        """
        grid = self.bank.grid
        if maps.ndim != 3 or len(maps) != len(index):
            raise ValueError(f"maps must be ({len(index)}, h, w), one for each index; got {tuple(maps.shape)}")
        if self.estimate.reads_bank:
            check_cells(maps.shape[1:], self.foreground)
        evidence = (maps != 0).flatten(1).any(1)
        observed = torch.ones(len(maps), grid, grid, dtype=torch.bool, device=maps.device)
        # The fine grid keeps a crop by a fraction of a cell when the maps are brought back.
        fine = max(grid, *maps.shape[1:])
        if after is not None:
            maps, observed = from_view(maps, after.to(maps.device), (fine, fine))
        pasted = self._pasted(index) if mixed and self.foreground == "free" else None
        if pasted is not None:
            observed = whole_cells(observed, pasted.shape[1]) & ~pasted.to(maps.device)
        if view is not None:
            home = view.to(maps.device)
            maps, inside = from_view(maps, home, (fine, fine))
            seen, _ = from_view(observed.float(), home, (grid, grid), mode="nearest")
            observed = (seen > 0.5) & whole_cells(inside, grid)
        # A map that is 0 everywhere says nothing about where the object is.
        observed = whole_cells(observed, grid) & evidence[:, None, None]
        if maps.shape[1:] != (grid, grid):
            maps = resize_map(maps.float(), grid)
        return maps, observed

    @uncompiled
    def update(self, index: Tensor, maps: Tensor, *, view: View | None = None, after: View | None = None) -> None:
        """Move the bank towards the class activation maps of a batch. The arguments are those of `observe`.

        With foreground="free" give the maps of the training forward on the batch mixed last. With "clean" give the
        maps of the un-mixed images. Other foregrounds need no bank and ignore the maps.
        """
        if not self.estimate.reads_bank:
            return
        seen, observed = self.observe(index, maps, view=view, after=after)
        device = self.bank.maps.device
        self.bank.update(index.to(device), seen.to(device), observed.to(device), generator=self.generator)

    @uncompiled
    def foreground_mask(self, index: Tensor, size: tuple[int, int], *, view: View | None = None) -> Tensor:
        """Return the foreground of some images as this augmentation estimates it, to be shown in pictures.

        Args:
            index: The position of each image in the training set, (B,) int64.
            size: The rows and columns of the result.
            view: The part of the whole images that is shown. None: all of it.

        Returns:
            The masks, (B, *size) bool, on the device of the bank.

        Raises:
            ValueError: If there is no estimate because the foreground is "masks" or "none".
        """
        self.bank.check_index(index)
        index = index.to(self.bank.maps.device)
        race = self.estimate.draw(len(index), self.generator)
        view = None if view is None else view.to(index.device)
        foreground = self.estimate.foreground(index, race, size, view, None)
        if foreground is None:
            raise ValueError(f"foreground={self.foreground!r} makes no estimate to show")
        return foreground.everywhere()

    def extra_repr(self) -> str:
        """Show the options in `print(mix)`."""
        options = {
            "patch_side": self.patch_side,
            "num_patches": self.num_patches,
            "foreground_share": self.foreground_share,
            "selection": self.selection,
            "fill": self.fill,
            "fill_value": self.fill_value,
            "momentum": self.bank.momentum,
            "probability": self.probability,
            "donor": self.donor,
            "foreground": self.foreground,
            "apply": self.how,
            "grid": self.bank.grid,
            "unseen": self.unseen,
        }
        options |= {"inplace": True} if self.inplace else {}
        return ", ".join([str(len(self.bank)), *(f"{name}={value!r}" for name, value in options.items())])

    def _pasted(self, index: Tensor) -> Tensor | None:
        """Return the cells pasted into the batch mixed last, if any; raise ValueError if `index` is another batch."""
        if self._last is None:
            return None
        last, pasted = self._last
        # It is usually the same tensor. To compare values would mean to wait for an accelerator.
        if index is not last and not (index.shape == last.shape and torch.equal(index.to(last.device), last)):
            raise ValueError(
                'foreground="free" feeds the bank with the maps of the batch mixed last, and this index is another '
                'batch. Call update after each mixing call, or use foreground="clean" with maps of un-mixed images.'
            )
        return pasted()
