"""BackMix: paste patches of other images' backgrounds into a batch, keep the labels.

Wang, Mu, Huang, Wang, Zhu, Hu: BackMix: Regularizing Open Set Recognition by Removing Underlying Fore-Background
Priors, IEEE TPAMI 2025. Nothing here changes inference.

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
from backmix.mixing.checks import check
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
    """The augmentation: donors are a permutation of the batch, their foreground is masked, one patch each is pasted.

    Holds the foreground bank, so `state_dict` carries all of its state. In evaluation mode images pass unchanged.

    Args:
        num_images: number of training images; `index` counts within it.
        patch_side: side of the square patch as a share of the image's shorter side (release: 0.25; the pictures of
            the project page: 0.5).
        num_patches: patches per image (release: 1).
        foreground_share: share of the cells taken as foreground (release: 0.25). Not used with true masks.
        selection: "topk" takes the cells of highest evidence (release), "random" draws them with probability in
            proportion to it.
        fill: what masked donor pixels become: "grey" is `fill_value` (release), "elsewhere" the donor's own background
            from half the image away, which leaves no outline of its object, "mean" the mean colour of the donor's
            background, "noise" normal noise with mean and deviation of the donor's background.
        fill_value: mid grey in the units of the images: 0 for normalised images, 0.5 for 0..1, 128 for 0..255.
        momentum: weight of a new map in the bank (release: 0.1).
        probability: share of images that are mixed; None: 1 for "patch" (release), 0.5 for "swap", so that the network
            also sees whole pictures, as it will at prediction.
        donor: "any" image of the batch (release) or only one of an "other" class; then labels are needed.
        foreground: where the foreground estimate comes from. "free": bank, fed with the maps of the training forward
            itself, pasted cells left as they were; "clean": bank, fed with maps of the un-mixed images; "masks": true
            masks given at each call; "centre": the cells nearest to the centre; "random": any cells; "none": nothing
            is masked.
        apply: "patch" pastes squares (the paper), "swap" replaces the whole estimated background of the target with
            the donor's.
        grid: cells per side of the bank (release: 8).
        unseen: images whose donor has no map yet stay as they are ("skip"), or take an "unmasked" patch. The release
            masks a meaningless band instead.
        inplace: paste into the batch that is given, which saves the copy; for loops that need the batch no more. With
            apply="patch" alone.
        bank_dtype: see ForegroundBank.
        generator: source of randomness; torch's global one when None.

    Raises:
        ValueError: for an option outside its range, with the range.
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
        if not 0 < patch_side <= 1:
            raise ValueError(f"patch_side is a share of the image's side, above 0 and at most 1; got {patch_side}")
        check(num_patches >= 1, f"num_patches is at least 1; got {num_patches}")
        for name, share in {"foreground_share": foreground_share, "probability": probability}.items():
            check(0 <= share <= 1, f"{name} lies in 0..1; got {share}")
        # A hair more, so that a share of 3 cells in 49 is 3 cells in spite of rounding.
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
        # Index of the batch mixed last, and what tells which of its cells were pasted.
        self._last: tuple[Tensor, Callable[[], Tensor]] | None = None

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
            images: (B, C, H, W), normalised (see `fill_value`); not changed unless `inplace`.
            index: (B,) int64 position of each image in the training set.
            labels: (B,) int64, needed for donor="other" alone; the labels of the result are the same.
            masks: (B, H, W) bool, true on the object, in the frame of `images`; needed for foreground="masks" alone.
            view: what `images` show of the whole images; None: all of it.
            draw: what to use instead of drawing.

        Returns:
            (B, C, H, W), a new tensor; with `inplace` as a rule `images` themselves.

        Raises:
            ValueError: when shapes do not fit or something needed is missing.
        """
        if not self.training:
            return images
        if images.ndim != 4:
            raise ValueError(f"images must be (B, C, H, W); got {tuple(images.shape)}")
        bank, device = self.bank, images.device
        batch, size = images.shape[0], (images.shape[2], images.shape[3])
        if index.shape != (batch,):
            raise ValueError(f"index must be ({batch},), one for each image; got {tuple(index.shape)}")
        # To look at the index costs a tenth of the call, and where the bank is read with all of it a wrong one fails.
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
                # Without a map of its own the target would lose its object.
                mixed = seen if mixed is None else mixed & seen
        fill_value = self.fill_value if self.fill == "grey" else None
        donors = None
        if self.fill == "elsewhere" and foreground is not None:
            donors = backgrounds_of(images, foreground, self.fill_value)
        if self.how == "swap":
            assert foreground is not None  # The constructor refuses to swap around nothing.
            result, own = swap_backgrounds(images, draw, mixed, foreground, fill_value, donors=donors)
            self._last = (index, partial(swapped_cells, own, bank.grid))
        else:
            result = paste_patches(images, draw, mixed, foreground, fill_value, donors=donors, inplace=self.inplace)
            self._last = (index, partial(pasted_cells, draw.paste, draw.side, mixed, size, bank.grid))
        return result

    def draw(self, shape: tuple[int, ...], *, labels: Tensor | None = None) -> Draw:
        """Draw for a batch of shape (B, C, H, W): donors, places, noise. Reads no image and no bank.

        Donors are a permutation of the batch; with donor="other", uniform among the images of other classes, and
        an image without such a donor is not mixed. Corners are uniform over 0..H-s and 0..W-s, both ends included.
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

    @torch.no_grad()
    def observe(
        self, index: Tensor, maps: Tensor, *, view: View | None = None, after: View | None = None
    ) -> tuple[Tensor, Tensor]:
        """Bring class activation maps to the frame of the whole images and say which cells they speak of.

        Args:
            index: (B,) int64, as given to the mixing call.
            maps: (B, h, w) float in 0..1, as the network saw the batch.
            view: as given to the mixing call.
            after: what the network saw of the mixed images, when they were flipped or cropped after mixing.

        Returns:
            (B, g, g) float maps and (B, g, g) bool, false at cells that were out of view or, with
            foreground="free", overlap something pasted into the batch mixed last, and in maps that are 0 everywhere.
        """
        grid = self.bank.grid
        if maps.ndim != 3 or len(maps) != len(index):
            raise ValueError(f"maps must be ({len(index)}, h, w), one for each index; got {tuple(maps.shape)}")
        evidence = (maps != 0).flatten(1).any(1)
        observed = torch.ones(len(maps), grid, grid, dtype=torch.bool, device=maps.device)
        # Enough cells that a crop by a fraction of a cell is not lost on the way back.
        fine = max(grid, *maps.shape[1:])
        if after is not None:
            maps, observed = from_view(maps, after.to(maps.device), (fine, fine))
        pasted = self._pasted(index) if self.foreground == "free" else None
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

    def update(self, index: Tensor, maps: Tensor, *, view: View | None = None, after: View | None = None) -> None:
        """Feed the bank with the class activation maps of a batch: observe, then move the bank towards them.

        With foreground="free" the maps are those of the training forward on the batch mixed last. With "clean" they
        are those of the un-mixed images. Other foregrounds need no bank; maps are then ignored.
        """
        if not self.estimate.reads_bank:
            return
        seen, observed = self.observe(index, maps, view=view, after=after)
        device = self.bank.maps.device
        self.bank.update(index.to(device), seen.to(device), observed.to(device), generator=self.generator)

    def foreground_mask(self, index: Tensor, size: tuple[int, int], *, view: View | None = None) -> Tensor:
        """Estimated foreground of some images as this augmentation sees it, for pictures.

        Args:
            index: (B,) int64 positions in the training set.
            size: rows and columns of the result.
            view: what is shown of the whole images; None: all.

        Returns:
            (B, *size) bool, on the device of the bank.

        Raises:
            ValueError: when there is no estimate: foreground is "masks" or "none".
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
        """Cells pasted into the batch mixed last, if `index` is that batch."""
        if self._last is None:
            return None
        last, pasted = self._last
        # The same tensor, as a rule; comparing values would wait for an accelerator.
        if index is not last and not (index.shape == last.shape and torch.equal(index.to(last.device), last)):
            raise ValueError(
                'foreground="free" feeds the bank with the maps of the batch mixed last, and this index is another '
                'batch. Call update after each mixing call, or use foreground="clean" with maps of un-mixed images.'
            )
        return pasted()
