"""Outliers from the training images themselves: their backgrounds, without their objects."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.mixing import BackMix, View
from backmix.mixing.checks import check
from backmix.mixing.draw import device_of
from backmix.mixing.foreground import Foreground
from backmix.mixing.paste import background_statistics, backgrounds_of
from backmix.outliers.base import Outliers

FILLS = ("elsewhere", "grey", "mean")


class Backgrounds(Outliers):
    """Each image of a batch with its foreground replaced by what another image's background shows there.

    Ours: where BackMix shows known classes before unrelated backgrounds, this shows those backgrounds as what they are,
    images of no class. The foreground is the one a BackMix sees: the cells of highest evidence in its bank, which the
    training loop feeds, or true masks with foreground="masks". Where the other image has its own foreground too, it
    shows what `fill` says.

    Images whose map the bank does not have yet neither give nor take, so a batch may come back smaller, in the first
    epoch empty. With true masks, an image whose mask is empty comes back as it is.

    Args:
        backmix: says what is foreground; an augmentation's own one, or one that does nothing else.
        fill: what shows where both images have foreground: "elsewhere" is the other image's background from half the
            image away, as BackMix swaps (its `fill_value` where that is foreground as well); "grey" the `fill_value`
            and "mean" the mean colour of the image's own background, blocks of one colour which tell these images from
            known ones.
        generator: source of randomness; torch's global one when None.

    Raises:
        ValueError: for another fill, or a BackMix that sees no foreground.
    """

    def __init__(self, backmix: BackMix, *, fill: str = "elsewhere", generator: torch.Generator | None = None) -> None:
        super().__init__(generator=generator)
        check(fill in FILLS, f"fill is one of {', '.join(FILLS)}; got {fill!r}")
        if backmix.estimate.finds_nothing:
            raise ValueError(
                f"backgrounds need to know the foreground; this BackMix has foreground={backmix.foreground!r} and "
                f"foreground_share={backmix.foreground_share}: choose another foreground or share"
            )
        self.backmix: BackMix = backmix
        self.fill = fill

    def forward(
        self,
        images: Tensor,
        index: Tensor,
        *,
        labels: Tensor | None = None,
        masks: Tensor | None = None,
        view: View | None = None,
    ) -> Tensor:
        """Backgrounds of a batch.

        Args:
            images: (B, C, H, W) float, normalised and not mixed; not changed.
            index: (B,) int64 position of each image in the training set.
            labels: not used.
            masks: (B, H, W) bool, true on the object, in the frame of `images`; needed for foreground="masks" alone.
            view: what `images` show of the whole images; None: all of it.

        Returns:
            (O, C, H, W), O at most B, in the order of the batch.

        Raises:
            ValueError: when shapes do not fit or masks are missing.
        """
        mix, device = self.backmix, images.device
        if images.ndim != 4:
            raise ValueError(f"images must be (B, C, H, W); got {tuple(images.shape)}")
        if index.shape != images.shape[:1]:
            raise ValueError(f"index must be ({len(images)},), one for each image; got {tuple(index.shape)}")
        mix.bank.check_index(index)
        if mix.foreground == "masks":
            wanted = (len(images), *images.shape[2:])
            if masks is None or masks.shape != wanted:
                found = None if masks is None else tuple(masks.shape)
                raise ValueError(f'backgrounds with foreground="masks" need masks={wanted} bool; got {found}')
            masks = masks.to(device, torch.bool)
        if mix.bank.maps.device != device:
            mix.bank.to(device)
        position, view = index.to(device), None if view is None else view.to(device)
        if mix.estimate.reads_bank:
            rows = mix.bank.seen.index_select(0, position).nonzero()[:, 0]
            images, position = images[rows], position[rows]
            view = None if view is None else View(view.boxes[rows], view.flip[rows])
        if not len(images):
            return images
        donor, race = self.draw(len(images))
        race = None if race is None else race.to(device)
        foreground = mix.estimate.foreground(position, race, (images.shape[2], images.shape[3]), view, masks)
        assert foreground is not None  # The constructor refuses a BackMix without one.
        donor = donor.to(device)
        if self.fill == "elsewhere":
            filling = backgrounds_of(images, foreground, mix.fill_value)[donor]
        elif self.fill == "mean":
            filling = background_statistics(images, foreground)[0].to(images.dtype)
        else:
            filling = images.new_full((1, 1, 1, 1), mix.fill_value)
        return without_objects(images, foreground, donor, filling)

    def draw(self, batch: int) -> tuple[Tensor, Tensor | None]:
        """Draw donors (B,) int64 and, where the BackMix draws its cells at random, (B, g, g) for that.

        Donors are a random cycle through the batch: everyone gives once, nobody to itself unless it is alone.
        """
        device = device_of(self.generator)
        order = torch.randperm(batch, generator=self.generator, device=device)
        donor = torch.empty_like(order)
        donor[order] = order.roll(1)
        return donor, self.backmix.estimate.draw(batch, self.generator)

    def extra_repr(self) -> str:
        """Show the options in `print`; those of the BackMix follow."""
        return f"fill={self.fill!r}"


def without_objects(images: Tensor, foreground: Foreground, donor: Tensor, filling: Tensor) -> Tensor:
    """Replace each image's foreground by its donor's background.

    Args:
        images: (B, C, H, W) float.
        foreground: of these images.
        donor: (B,) int64, which image of the batch gives to each.
        filling: what shows where both have foreground, (B, C, H, W) or of sizes 1 that stand for it.

    Returns:
        (B, C, H, W), a new tensor.
    """
    background = ~foreground.everywhere()[:, None]
    # Images come first each time: the result lies in memory as they do.
    return images.where(background, images[donor].where(background[donor], filling))
