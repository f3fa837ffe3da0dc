"""What chance decides for a batch before any pixel is touched."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """What chance decided for one batch of B images with P patches of side s, apart from the images themselves.

    Attributes:
        donor: (B,) int64 position in the batch of each image's donor.
        mixed: (B,) bool, whether the image receives anything; None: every image does.
        corners: (2, P, 2, B) int64 top and left pixel of each patch, first in its donor and then in its target: `cut`
            and `paste`.
        side: s in pixels.
        race: (B, g, g) float, exponentially distributed, turns a sort into weighted sampling; None unless cells are
            chosen at random.
        noise: standard normal pixels, (P, B, C, s, s) or (B, C, H, W) for "swap"; None unless fill is "noise".
    """

    donor: Tensor
    mixed: Tensor | None
    corners: Tensor
    side: int
    race: Tensor | None = None
    noise: Tensor | None = None

    @property
    def cut(self) -> Tensor:
        """(P, 2, B) int64 top and left pixel of each patch in its donor."""
        return self.corners[0]

    @property
    def paste(self) -> Tensor:
        """(P, 2, B) int64 top and left pixel of each patch in its target."""
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
    """The device that a generator draws on; the CPU for torch's global one."""
    return generator.device if generator is not None else torch.device("cpu")


def draw_corners(
    batch: int, patches: int, side: int, size: tuple[int, int], generator: torch.Generator | None
) -> Tensor:
    """Draw where patches are cut and pasted: (2, P, 2, B) int64, uniform over 0..H-side and 0..W-side inclusive."""
    device = device_of(generator)
    if size[0] == size[1]:  # One call instead of three.
        return torch.randint(size[0] - side + 1, (2, patches, 2, batch), generator=generator, device=device)
    shape = (2, patches, batch)
    top = torch.randint(size[0] - side + 1, shape, generator=generator, device=device)
    left = torch.randint(size[1] - side + 1, shape, generator=generator, device=device)
    return torch.stack([top, left], 2)


def draw_donors_of_other_classes(labels: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Draw for each image a donor among the images of other classes in the batch.

    Args:
        labels: (B,) int64.
        generator: source of randomness, on the device of labels.

    Returns:
        (B,) int64 donors, uniform among the images of other classes, and (B,) bool, false where there are none.
    """
    batch = len(labels)
    order = labels.argsort(stable=True)
    ordered = labels[order]
    first = torch.searchsorted(ordered, labels)
    end = torch.searchsorted(ordered, labels, right=True)
    others = batch - (end - first)
    uniform = torch.rand(batch, generator=generator, device=labels.device)
    # Counted past the own class in the order of labels, so that nobody has to be rejected.
    step = torch.minimum((uniform * others).long(), (others - 1).clamp_min(0))
    return order[(end + step) % batch], others > 0
