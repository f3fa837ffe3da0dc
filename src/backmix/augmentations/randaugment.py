"""RandAugment as the closed-set paper trains with it: a few of 16 operations, drawn for each image; labels stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from backmix.augmentations.base import Augmentation
from backmix.augmentations.randaugment_ops import MOVING, PIXEL_RANGES, RANGES, operate
from backmix.augmentations.share import Share
from backmix.data.preprocess import MEAN, STD


class RandAugmentDraw(NamedTuple):
    """What chance decides, for each of N operations one after the other.

    Attributes:
        operation: (N, B) int64, position among the operations that are not left out.
        negative: (N, B) bool, the other direction; only operations that move things look at it.
        place: (N, 2, B) float in 0..1, row and column; only "cutout" looks at it.
    """

    operation: Tensor
    negative: Tensor
    place: Tensor


class RandAugment(Augmentation):
    """N operations for each image, any of 16 with the same probability, all of the same strength M.

    Cubuk et al., "RandAugment", 2020, in the variant of Vaze et al., "Open-Set Recognition: A Good Closed-Set
    Classifier is All You Need?", ICLR 2022: the value of an operation is min + (max - min) M / 30 over `RANGES`, so
    that a larger M means weaker "posterize" and "solarize", "brightness" and its like run from 0.1 to 1.9, and
    translations are numbers of pixels. torchvision's `RandAugment` has other ranges and draws once for a whole batch,
    from the global generator. As in the paper, operations see pixels of 8 bits, and what moves into view is black.

    It comes before flip and crop, in the place that it has among several augmentations. Beside BackMix it comes
    second wherever it stands: it moves objects, and BackMix would look for them where they were. Images that
    were moved tell the foreground bank nothing (`moved`).

    Args:
        num_ops: operations N for each image (paper: 1; 2 for fine-grained sets).
        strength: M in 0..30 (paper: 6 on CIFAR-10, 8 on MNIST, 18 on SVHN, 9 on Tiny-ImageNet, 30 and 15 on
            fine-grained sets).
        leave_out: operations that are not used. For digits the paper leaves out rotate, translate-x and translate-y.
        native_side: side in pixels that images had before they were resized, as the paper's operations come before
            that; translations and cutout scale with it. None: they were not resized.
        mean: of the normalisation of the images, per channel, for pixels in 0..1.
        std: deviation of the normalisation.
        generator: source of randomness; torch's global one when None.

    Raises:
        ValueError: for an option outside its range, or operations that are not there.
    """

    name = "randaugment"
    options = ("num_ops", "strength", "native_side", "mean", "std", "operations")
    looks_at_others = False

    def __init__(
        self,
        *,
        num_ops: int = 1,
        strength: float = 6.0,
        leave_out: Sequence[str] = (),
        native_side: int | None = None,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(generator=generator)
        out = (leave_out,) if isinstance(leave_out, str) else tuple(leave_out)
        wrong = [name for name in out if name not in RANGES]
        if wrong:
            raise ValueError(f"randaugment: no operation {wrong[0]!r} to leave out; there are {', '.join(RANGES)}")
        self.operations = tuple(name for name in RANGES if name not in out)
        self._check(bool(self.operations), "leave_out leaves no operation; name fewer")
        self._check(num_ops >= 1, f"num_ops is at least 1; got {num_ops}")
        self._check(0 <= strength <= 30, f"strength lies in 0..30; got {strength}")
        fits = native_side is None or native_side >= 1
        self._check(fits, f"native_side is a number of pixels, at least 1; got {native_side}")
        fits = len(mean) == len(std) == 3 and min(std) > 0
        self._check(fits, f"mean and std need three numbers, std above 0; got {mean}, {std}")
        self.num_ops = num_ops
        self.strength = strength
        self.native_side = native_side
        self.mean = tuple(mean)
        self.std = tuple(std)

    def value(self, operation: str, side: int) -> float:
        """How strongly an operation acts, in its own unit, on images whose shorter side has `side` pixels."""
        low, high = RANGES[operation]
        value = low + (high - low) * self.strength / 30
        scale = side / self.native_side if self.native_side and operation in PIXEL_RANGES else 1.0
        return value * scale

    def check_images(self, images: Tensor) -> None:
        """Raise ValueError unless images are (B, 3, H, W) float."""
        super().check_images(images)
        if images.shape[1] != 3:
            raise ValueError(f"randaugment takes images of three channels; got {tuple(images.shape)}")

    def draw(self, batch: int, *_: int) -> RandAugmentDraw:
        """Draw operations, directions and places for each of `batch` images."""
        operation = self._randint(0, len(self.operations), self.num_ops, batch)
        negative = self._rand(self.num_ops, batch) < 0.5
        return RandAugmentDraw(operation, negative, self._rand(self.num_ops, 2, batch))

    def change(self, images: Tensor, draw: RandAugmentDraw) -> Tensor:
        """Change (B, 3, H, W) as drawn; returns a new tensor. Images of one operation and direction go together."""
        mean = torch.tensor(self.mean, device=images.device)[:, None, None]
        std = torch.tensor(self.std, device=images.device)[:, None, None]
        pixels = ((images.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        side = min(images.shape[2:])
        for operations, negatives, places in zip(draw.operation, draw.negative, draw.place, strict=True):
            # What to do is decided on the CPU, where it was drawn, as a rule: the images' device need not wait.
            for number, name in enumerate(self.operations):
                for sign in (1, -1) if name in MOVING else (0,):
                    chosen = operations == number
                    if sign:
                        chosen = chosen & (negatives == (sign < 0))
                    rows = chosen.nonzero()[:, 0]
                    if len(rows):
                        place, rows = places[:, rows].to(images.device), rows.to(images.device)
                        value = self.value(name, side) * (sign or 1)
                        pixels[rows] = operate(name, pixels[rows], value, place)
        return ((pixels / 255 - mean) / std).to(images.dtype)

    def moved(self) -> Tensor | None:
        """Which images of the batch changed last were rotated, sheared or translated: (B,) bool."""
        if self._last is None:
            return None
        operation = self._last.operation
        return torch.tensor([name in MOVING for name in self.operations], device=operation.device)[operation].any(0)

    def part(self, draw: RandAugmentDraw, share: Share) -> RandAugmentDraw:
        """What was drawn for the images of this process."""
        return RandAugmentDraw(*(share.own(drawn, -1) for drawn in draw))
