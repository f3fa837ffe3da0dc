"""RandAugment, as in the closed-set paper, applies a few of 16 operations to each image. Labels do not change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from backmix.augmentations.base import Augmentation
from backmix.augmentations.randaugment_ops import MOVING, PIXEL_RANGES, RANGES, operate
from backmix.augmentations.share import ProcessPart
from backmix.data.preprocess import MEAN, STD


class RandAugmentDraw(NamedTuple):
    """The random choices for a batch of B images, for each of N operations that follow each other.

    Attributes:
        operation: The position of the operation among those that are not left out, (N, B) int64.
        negative: Whether the operation acts in the other direction, (N, B) bool. Only operations that move objects use
            it.
        place: The row and column of the place, (N, 2, B) float in 0..1. Only "cutout" uses it.
    """

    operation: Tensor
    negative: Tensor
    place: Tensor


class RandAugment(Augmentation):
    """An augmentation that applies N of 16 operations to each image, each with the same probability and strength M.

    Cubuk et al., "RandAugment", 2020, in the variant of Vaze et al., "Open-Set Recognition: A Good Closed-Set
    Classifier is All You Need?", ICLR 2022. The value of an operation is min + (max - min) M / 30 over `RANGES`. So a
    larger M means weaker "posterize" and "solarize"; "colour", "contrast", "brightness" and "sharpness" run from 0.1
    to 1.9; and translations are numbers of pixels. The `RandAugment` of torchvision has other ranges and draws once for
    a whole batch, from the global generator. As in the paper, operations work on pixels of 8 bits, and areas that move
    into view are black.

    It comes before flip and crop, at its place among several augmentations. With BackMix it always comes second,
    because it moves objects and BackMix would look for them at their old places. Moved images do not feed the
    foreground bank (`moved`).

    Args:
        num_ops: The number of operations N for each image (paper: 1; 2 for fine-grained sets).
        strength: The strength M in 0..30 (paper: 6 on CIFAR-10, 8 on MNIST, 18 on SVHN, 9 on Tiny-ImageNet, 30 and 15
            on fine-grained sets).
        leave_out: The operations that are not used. For digits the paper leaves out rotate, translate-x and
            translate-y.
        native_side: The side in pixels that images had before they were resized. The operations of the paper come
            before the resizing, so translations and cutout scale with it. None: the images were not resized.
        mean: The mean of each channel by which the images are normalised, for pixels in 0..1.
        std: The standard deviation of each channel by which the images are normalised, for pixels in 0..1.
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If an option is outside its range, or if an operation does not exist.
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
        """Return the value of an operation, in its own unit, for images whose shorter side has `side` pixels."""
        low, high = RANGES[operation]
        value = low + (high - low) * self.strength / 30
        scale = side / self.native_side if self.native_side and operation in PIXEL_RANGES else 1.0
        return value * scale

    def check_images(self, images: Tensor) -> None:
        """Raise ValueError unless the images are (B, 3, H, W) float."""
        super().check_images(images)
        if images.shape[1] != 3:
            raise ValueError(f"randaugment takes images of three channels; got {tuple(images.shape)}")

    def draw(self, batch: int, *_: int) -> RandAugmentDraw:
        """Draw operations, directions and places for each of `batch` images."""
        operation = self._randint(0, len(self.operations), self.num_ops, batch)
        negative = self._rand(self.num_ops, batch) < 0.5
        return RandAugmentDraw(operation, negative, self._rand(self.num_ops, 2, batch))

    def change(self, images: Tensor, draw: RandAugmentDraw) -> Tensor:
        """Change (B, 3, H, W) images as drawn. Return a new tensor.

        Images with the same operation and direction are changed together.
        """
        mean = torch.tensor(self.mean, device=images.device)[:, None, None]
        std = torch.tensor(self.std, device=images.device)[:, None, None]
        pixels = ((images.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        side = min(images.shape[2:])
        for operations, negatives, places in zip(draw.operation, draw.negative, draw.place, strict=True):
            # The draw is usually on the CPU, where the images of each operation are selected without a wait.
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
        """Return which images of the batch changed last were rotated, sheared or translated, (B,) bool; None: none."""
        if self._last is None:
            return None
        operation = self._last.operation
        return torch.tensor([name in MOVING for name in self.operations], device=operation.device)[operation].any(0)

    def part(self, draw: RandAugmentDraw, share: ProcessPart) -> RandAugmentDraw:
        """Return the part of a draw for the images of this process."""
        return RandAugmentDraw(*(share.own(drawn, -1) for drawn in draw))
