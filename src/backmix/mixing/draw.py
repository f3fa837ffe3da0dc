"""The random choices for a batch. They are made before any pixel is touched."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """The random choices for one batch of B images with P patches of side s, without the images themselves.

    Attributes:
        donor: The position of each image's donor in the batch, (B,) int64.
        mixed: Whether each image is mixed, (B,) bool. None: every image is mixed.
        corners: The top and left pixel of each patch, (2, P, 2, B) int64: first in its donor (`cut`), then in its
            target (`paste`).
        side: The side s of a patch, in pixels.
        race: Exponentially distributed numbers that turn a sort into weighted sampling, (B, g, g) float. None unless
            cells are chosen at random.
        noise: Standard normal pixels, (P, B, C, s, s), or (B, C, H, W) for "swap". None unless fill is "noise".
    """

    donor: Tensor
    mixed: Tensor | None
    corners: Tensor
    side: int
    race: Tensor | None = None
    noise: Tensor | None = None

    @property
    def cut(self) -> Tensor:
        """The top and left pixel of each patch in its donor, (P, 2, B) int64."""
        return self.corners[0]

    @property
    def paste(self) -> Tensor:
        """The top and left pixel of each patch in its target, (P, 2, B) int64."""
        return self.corners[1]

    def to(self, device: torch.device) -> Draw:
        """Return the same draw on another device."""
        if self.donor.device == device:
            return self

        def moved(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.to(device, non_blocking=True)

        return Draw(
            self.donor.to(device, non_blocking=True),
            moved(self.mixed),
            self.corners.to(device, non_blocking=True),
            self.side,
            moved(self.race),
            moved(self.noise),
        )


def device_of(generator: torch.Generator | None) -> torch.device:
    """Return the device that a generator draws on: the CPU for None, torch's global generator."""
    return generator.device if generator is not None else torch.device("cpu")


def draw_corners(
    batch: int, patches: int, side: int, size: tuple[int, int], generator: torch.Generator | None
) -> Tensor:
    """Draw where patches are cut and pasted: (2, P, 2, B) int64, uniform in 0..H-side and 0..W-side, ends included."""
    device = device_of(generator)
    if size[0] == size[1]:  # One call instead of three.
        return torch.randint(size[0] - side + 1, (2, patches, 2, batch), generator=generator, device=device)
    shape = (2, patches, batch)
    top = torch.randint(size[0] - side + 1, shape, generator=generator, device=device)
    left = torch.randint(size[1] - side + 1, shape, generator=generator, device=device)
    return torch.stack([top, left], 2)


def draw_donors_of_other_classes(labels: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Draw a donor for each image among the images of other classes in the batch.

    Args:
        labels: The class of each image, (B,) int64.
        generator: The source of randomness, on the device of `labels`. None: torch's global generator.

    Returns:
        The donors, (B,) int64, uniform among the images of other classes; and (B,) bool, false where the batch holds
        no other class.
    """
    batch = len(labels)
    order = labels.argsort(stable=True)
    ordered = labels[order]
    first = torch.searchsorted(ordered, labels)
    end = torch.searchsorted(ordered, labels, right=True)
    others = batch - (end - first)
    uniform = torch.rand(batch, generator=generator, device=labels.device)
    # In the order of labels, donors are counted from the end of the image's own class, so no draw is rejected.
    step = torch.minimum((uniform * others).long(), (others - 1).clamp_min(0))
    return order[(end + step) % batch], others > 0
