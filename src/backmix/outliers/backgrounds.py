"""Outliers made from the training images: their backgrounds without their objects."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.mixing import BackMix, View
from backmix.mixing.checks import check
from backmix.mixing.draw import device_of
from backmix.mixing.foreground import Foreground
from backmix.mixing.paste import background_statistics, backgrounds_of
from backmix.mixing.uncompiled import uncompiled
from backmix.outliers.base import Outliers

FILLS = ("elsewhere", "grey", "mean")


class Backgrounds(Outliers):
    """The images of a batch with their foreground replaced by the background of another image at the same place.

    This is a method of ours. BackMix shows known classes before unrelated backgrounds; this source shows these
    backgrounds as images of no class. The foreground is the one of a BackMix: the cells of highest evidence in its
    bank, which the training loop feeds, or true masks with foreground="masks". Where the other image has foreground at
    the same place, `fill` decides.

    Images without a map in the bank are left out, so the result may hold fewer images than the batch, and none in the
    first epoch. With true masks, an image whose mask is empty does not change.

    Args:
        backmix: The BackMix that decides what is foreground: the one of the augmentation, or one for this use only.
        fill: What shows where both images have foreground. "elsewhere" is the other image's background from half the
            image away, as BackMix swaps, or the `fill_value` of the BackMix if that place is foreground as well;
            "grey" is that `fill_value`; "mean" is the mean colour of the image's own background. "grey" and "mean" make
            blocks of one colour, by which these images differ from images of known classes.
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If the fill is another one, or if the BackMix has no foreground.
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

    @uncompiled
    def forward(
        self,
        images: Tensor,
        index: Tensor,
        *,
        labels: Tensor | None = None,
        masks: Tensor | None = None,
        view: View | None = None,
    ) -> Tensor:
        """Return the backgrounds of a batch.

        Args:
            images: The images, (B, C, H, W) float, normalised and not mixed. They do not change.
            index: The position of each image in the training set, (B,) int64.
            labels: Not used.
            masks: The true masks in the frame of `images`, (B, H, W) bool, true on the object; needed only for
                foreground="masks".
            view: The part of the whole images that `images` show. None: all of it.

        Returns:
            The backgrounds, (O, C, H, W) with O at most B, in the order of the batch.

        Raises:
            ValueError: If shapes do not fit, or if masks are needed and missing.
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
        """Draw the donors of a batch.

        Args:
            batch: The number of images B.

        Returns:
            The donors, (B,) int64; and the distances of `Estimate.draw`, (B, g, g) float, or None if the BackMix does
            not draw its cells at random. Donors are a random cycle through the batch: each image gives once, and none
            gives to itself unless it is the only one.
        """
        device = device_of(self.generator)
        order = torch.randperm(batch, generator=self.generator, device=device)
        donor = torch.empty_like(order)
        donor[order] = order.roll(1)
        return donor, self.backmix.estimate.draw(batch, self.generator)

    def extra_repr(self) -> str:
        """Show the options in `print`; the options of the BackMix follow."""
        return f"fill={self.fill!r}"


def without_objects(images: Tensor, foreground: Foreground, donor: Tensor, filling: Tensor) -> Tensor:
    """Replace the foreground of each image with the background of its donor.

    Args:
        images: The images, (B, C, H, W) float.
        foreground: The foreground of the images.
        donor: The position of each image's donor in the batch, (B,) int64.
        filling: The pixels to show where both have foreground, of a shape that can be broadcast to (B, C, H, W).

    Returns:
        The images without their objects, (B, C, H, W), a new tensor.
    """
    background = ~foreground.everywhere()[:, None]
    # `images` is the first operand each time, so the result has its memory layout.
    return images.where(background, images[donor].where(background[donor], filling))
