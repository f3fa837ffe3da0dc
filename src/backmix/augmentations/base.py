"""What an augmentation is, and several of them as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from backmix.augmentations.share import ALL, Share
from backmix.mixing import BackMix, View
from backmix.mixing.checks import check
from backmix.mixing.draw import device_of

Targets = tuple[tuple[Tensor, float], ...]


class Augmentation(nn.Module):
    """Something done to training batches; in evaluation mode images pass unchanged.

    Called as BackMix is: `images = augmentation(images, index)`. A subclass writes two methods and leaves `forward` as
    it is: `draw` decides everything random, and `change` does to the images what was drawn. Where an image changes
    alike whatever the others of its batch are, it also says which part of a draw is whose: `part`. The rest has
    defaults.

    Args:
        probability: share of what is changed; what is counted, batches, images or cells, the subclass says.
        generator: source of randomness; torch's global one when None.

    Raises:
        ValueError: for a probability outside 0..1.

    Attributes:
        name: begins every message of an error.
        options: names of the attributes that `print` shows.
        after_crop: whether it belongs behind flip and crop instead of before them.
        mixes_labels: whether `targets` may differ from one draw to the next; a step then draws once for all views.
        looks_at_others: whether an image of the result depends on other images of the batch. Where several processes
            train together, such an augmentation is given the batch of all of them. One that does not look at others,
            or comes after the crop, is given the part of its process; `forward` then draws for the images of all
            processes and keeps the `part` that belongs to this one.
        share: which part of a batch this process is given; set by the training loop.
    """

    name: ClassVar[str] = "augmentation"
    options: ClassVar[tuple[str, ...]] = ()
    after_crop: ClassVar[bool] = False
    mixes_labels: ClassVar[bool] = False
    looks_at_others: ClassVar[bool] = True
    share: Share = ALL

    def __init__(self, *, probability: float = 1.0, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self._check(0 <= probability <= 1, f"probability lies in 0..1; got {probability}")
        self.probability = probability
        self.generator = generator
        # What was drawn for the batch changed last; None: it was left as it is.
        self._last: Any = None

    def forward(
        self,
        images: Tensor,
        index: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        masks: Tensor | None = None,
        view: View | None = None,
    ) -> Tensor:
        """Draw, then change a batch. Not to be overridden: write `draw` and `change`.

        Args:
            images: (B, C, H, W) float, normalised; not changed.
            index: (B,) int64 position of each image in the training set.
            labels: (B,) int64.
            masks: (B, H, W) bool true foreground.
            view: what `images` show of the whole images.

        Returns:
            (B, C, H, W), a new tensor.
        """
        self._last = None
        if not self.training:
            return images
        self.check_images(images)
        draw = self.draw(self.share.whole(len(images)), images.shape[2], images.shape[3])
        if draw is None:
            return images.clone()
        self._last = self.part(draw, self.share)
        return self.change(images, self._last)

    def check_images(self, images: Tensor) -> None:
        """Raise ValueError, with the augmentation's name, unless images are (B, C, H, W) float."""
        if images.ndim != 4 or not images.is_floating_point():
            found = f"{tuple(images.shape)} {images.dtype}"
            raise ValueError(f"{self.name} takes normalised images (B, C, H, W) float; got {found}")

    def draw(self, batch: int, height: int, width: int, /) -> Any:
        """Draw, from `generator` alone, what happens to a batch of such a size; None: it is left as it is."""
        raise NotImplementedError

    def change(self, images: Tensor, draw: Any) -> Tensor:
        """Do to (B, C, H, W) what was drawn; returns a new tensor and draws nothing."""
        raise NotImplementedError

    def part(self, draw: Any, share: Share) -> Any:
        """What of a draw for the images of all processes belongs to this one; here all of it, as for label mixing."""
        return draw

    def targets(self, labels: Tensor) -> Targets:
        """What the batch changed last is labelled as: labels (B,) int64 with weights that sum to 1."""
        return ((labels, 1.0),)

    def moved(self) -> Tensor | None:
        """Which images of the batch changed last no longer show things where they were: (B,) bool; None: none."""
        return None

    def attach(self, backbone: nn.Module) -> None:
        """Get hold of a backbone's layers, for augmentations of feature maps; `detach` lets go of them."""

    def detach(self) -> None:
        """Let go of what `attach` got hold of."""

    def extra_repr(self) -> str:
        """The options, for `print`; a resumed training compares them."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.options)

    def _check(self, fits: bool, expected: str) -> None:
        check(fits, f"{self.name}: {expected}")

    def _leaves_batch(self) -> bool:
        """Toss once for a whole batch: false with `probability`."""
        return float(self._rand()) >= self.probability

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=device_of(self.generator))

    def _randint(self, low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=self.generator, device=device_of(self.generator))

    def _randperm(self, batch: int) -> Tensor:
        return torch.randperm(batch, generator=self.generator, device=device_of(self.generator))


class Chain(nn.Module):
    """Augmentations one after the other, those before the crop first: what the training loop calls.

    BackMix comes first wherever it stands: its maps belong to the images as they are, not as another part has turned
    or mixed them.

    Args:
        parts: in the order in which they are applied; BackMix may be among them, once.

    Raises:
        ValueError: for BackMix twice, swap being one: the training loop feeds one bank. For one that pastes into the
            batch it is given, which the training loop needs once more.
    """

    def __init__(self, parts: Sequence[Augmentation | BackMix]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(sorted(parts, key=lambda part: not isinstance(part, BackMix)))
        mixes = [part for part in parts if isinstance(part, BackMix)]
        if len(mixes) > 1:
            raise ValueError(
                "backmix, or swap, which is one, stands in the augmentation twice and one bank alone is fed; "
                "choose one of them, and raise num_patches for more patches"
            )
        if any(mix.inplace for mix in mixes):
            raise ValueError("BackMix(inplace=True) is for a loop of your own; this one needs the batch as it was")

    @property
    def backmix(self) -> BackMix | None:
        """The BackMix among the parts, be it named backmix or swap, whose bank the training loop feeds."""
        return next((part for part in self.parts if isinstance(part, BackMix)), None)

    def before_crop(
        self, images: Tensor, index: Tensor, *, labels: Tensor, masks: Tensor | None, view: View | None
    ) -> Tensor:
        """What happens before flip and crop: (B, C, H, W) -> (B, C, H, W)."""
        for part in self.parts:
            if not getattr(part, "after_crop", False):
                images = part(images, index, labels=labels, masks=masks, view=view)
        return images

    def behind_crop(self, images: Tensor, index: Tensor, *, labels: Tensor) -> Tensor:
        """What happens behind flip and crop: (B, C, H, W) -> (B, C, H, W)."""
        for part in self.parts:
            if getattr(part, "after_crop", False):
                images = part(images, index, labels=labels)
        return images

    def targets(self, labels: Tensor) -> Targets | None:
        """Labels and weights of the batch changed last, None where the labels stay as they are.

        Where two parts mix labels, the second mixes what the first has made.
        """
        found: Targets = ((labels, 1.0),)
        for part in self.parts:
            if isinstance(part, Augmentation):
                mixed = [part.targets(given) for given, _ in found]
                found = tuple(
                    (chosen, weight * share)
                    for (_, weight), parts in zip(found, mixed, strict=True)
                    for chosen, share in parts
                )
        return None if len(found) == 1 else found

    def moved(self) -> Tensor | None:
        """Which images of the batch changed last no longer show things where they were: (B,) bool; None: none."""
        found = [part.moved() for part in self.parts if isinstance(part, Augmentation)]
        known = [each for each in found if each is not None]
        return torch.stack(known).any(0) if known else None

    @property
    def looks_at_others(self) -> bool:
        """Whether anything before the crop needs the batches of all processes: BackMix takes donors from them."""
        return any(
            isinstance(part, BackMix) or (part.looks_at_others and not part.after_crop)
            for part in self.parts
            if isinstance(part, BackMix | Augmentation)
        )

    def set_share(self, before_crop: Share, behind_crop: Share) -> None:
        """Say which part of a batch is given to what stands before the crop, and to what stands behind it."""
        for part in self.parts:
            if isinstance(part, Augmentation):
                part.share = behind_crop if part.after_crop else before_crop

    def set_generator(self, generator: torch.Generator | None) -> None:
        """Draw from this generator from now on."""
        for part in self.parts:
            part.generator = generator  # type: ignore[assignment]

    def attach(self, backbone: nn.Module) -> None:
        """Let parts that work on feature maps get hold of a backbone."""
        for part in self.parts:
            if isinstance(part, Augmentation):
                part.attach(backbone)

    def detach(self) -> None:
        """Let go of the backbone."""
        for part in self.parts:
            if isinstance(part, Augmentation):
                part.detach()


def draw_beta(alpha: float, count: int, generator: torch.Generator | None) -> Tensor:
    """Draw from Beta(alpha, alpha).

    torch's Beta distribution takes no generator, and at small alpha both of the gamma variables behind it can be 0 in
    float32. NumPy's, seeded by the generator, has neither fault.

    Args:
        alpha: above 0.
        count: how many.
        generator: source of randomness; torch's global one when None.

    Returns:
        (count,) float32 on the CPU, in 0..1.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=device_of(generator)))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count)).float()
