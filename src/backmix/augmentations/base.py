"""The base class of augmentations, and the chain that applies several of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from backmix.augmentations.share import ALL, ProcessPart
from backmix.mixing import BackMix, View
from backmix.mixing.checks import check
from backmix.mixing.draw import device_of
from backmix.mixing.uncompiled import uncompiled

Targets = tuple[tuple[Tensor, float], ...]


class Augmentation(nn.Module):
    """The base class of augmentations, which change training batches. In evaluation mode images pass unchanged.

    It is called as BackMix is: `images = augmentation(images, index)`. A subclass writes two methods and keeps
    `forward`: `draw` makes all random choices, and `change` applies them to the images. If the change of an image does
    not depend on the other images of the batch, the subclass also writes `part`, which selects the choices for some of
    the images. The other methods have defaults.

    Args:
        probability: The share of batches, images or cells that are changed; the subclass defines which of them.
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If the probability is outside 0..1.

    Attributes:
        name: The name that begins every error message.
        options: The names of the attributes that `print` shows.
        after_crop: Whether the augmentation comes after flip and crop instead of before them.
        mixes_labels: Whether `targets` may differ from one draw to the next. If so, a step draws once for all views.
        looks_at_others: Whether an image of the result depends on other images of the batch. If several processes
            train together, an augmentation that looks at others gets the batch of all processes. One that does not, or
            that comes after the crop, gets the part of its process; `forward` then draws for the images of all
            processes and keeps the `part` of this process.
        inside_network: Whether it works on feature maps inside the network. If so, it has no part in the training of a
            head on a frozen backbone.
        share: The part of a batch that this process gets. The training loop sets it.
    """

    name: ClassVar[str] = "augmentation"
    options: ClassVar[tuple[str, ...]] = ()
    after_crop: ClassVar[bool] = False
    mixes_labels: ClassVar[bool] = False
    looks_at_others: ClassVar[bool] = True
    inside_network: ClassVar[bool] = False
    share: ProcessPart = ALL

    def __init__(self, *, probability: float = 1.0, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self._check(0 <= probability <= 1, f"probability lies in 0..1; got {probability}")
        self.probability = probability
        self.generator = generator
        # The draw for the batch changed last. None: the batch was not changed.
        self._last: Any = None

    @uncompiled
    def forward(
        self,
        images: Tensor,
        index: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        masks: Tensor | None = None,
        view: View | None = None,
    ) -> Tensor:
        """Draw, then change a batch. Do not override this method: write `draw` and `change`.

        Args:
            images: The images, (B, C, H, W) float, normalised. They do not change.
            index: The position of each image in the training set, (B,) int64.
            labels: The class of each image, (B,) int64.
            masks: The true masks, (B, H, W) bool, true on the foreground.
            view: The part of the whole images that `images` show.

        Returns:
            The changed images, (B, C, H, W), a new tensor.
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
        """Raise ValueError, with the name of the augmentation, unless the images are (B, C, H, W) float."""
        if images.ndim != 4 or not images.is_floating_point():
            found = f"{tuple(images.shape)} {images.dtype}"
            raise ValueError(f"{self.name} takes normalised images (B, C, H, W) float; got {found}")

    def draw(self, batch: int, height: int, width: int, /) -> Any:
        """Make the random choices for a batch of images of height x width pixels, from `generator` alone.

        Args:
            batch: The number of images.
            height: The height of the images, in pixels.
            width: The width of the images, in pixels.

        Returns:
            The choices, in a form that `change` takes, or None if the batch does not change.
        """
        raise NotImplementedError

    def change(self, images: Tensor, draw: Any) -> Tensor:
        """Change (B, C, H, W) images as drawn. Return a new tensor and draw nothing."""
        raise NotImplementedError

    def part(self, draw: Any, share: ProcessPart) -> Any:
        """Return the part of a draw for all processes that belongs to this one: here all of it, as in label mixing."""
        return draw

    def targets(self, labels: Tensor) -> Targets:
        """Return the labels of the batch changed last: pairs of labels, (B,) int64, and weights that sum to 1."""
        return ((labels, 1.0),)

    def moved(self) -> Tensor | None:
        """Return in which images of the batch changed last objects are no longer in place, (B,) bool; None: in none."""
        return None

    def attach(self, backbone: nn.Module) -> None:
        """Hook into the layers of a backbone, for augmentations of feature maps. `detach` ends it."""

    def detach(self) -> None:
        """Remove the hooks of `attach`."""

    def extra_repr(self) -> str:
        """Return the options for `print`; a resumed training compares them."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.options)

    def _check(self, fits: bool, expected: str) -> None:
        check(fits, f"{self.name}: {expected}")

    def _leaves_batch(self) -> bool:
        """Decide at random whether a whole batch stays unchanged: false with `probability`."""
        return float(self._rand()) >= self.probability

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=device_of(self.generator))

    def _randint(self, low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=self.generator, device=device_of(self.generator))

    def _randperm(self, batch: int) -> Tensor:
        return torch.randperm(batch, generator=self.generator, device=device_of(self.generator))


class Chain(nn.Module):
    """A sequence of augmentations, which the training loop calls: those before the crop come first.

    BackMix is always the first part, whatever its place in `parts`: its maps belong to the original images, not to
    images that another part has turned or mixed.

    Args:
        parts: The augmentations in the order in which they are applied. At most one of them is a BackMix.

    Raises:
        ValueError: If two parts are BackMix ("swap" is one as well), because the training loop feeds one bank; or if a
            BackMix pastes into the given batch, because the training loop needs the batch afterwards.
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
        """The BackMix among the parts ("backmix" or "swap"), whose bank the training loop feeds; None without one."""
        return next((part for part in self.parts if isinstance(part, BackMix)), None)

    def before_crop(
        self, images: Tensor, index: Tensor, *, labels: Tensor, masks: Tensor | None, view: View | None
    ) -> Tensor:
        """Apply the parts that come before flip and crop: (B, C, H, W) -> (B, C, H, W)."""
        for part in self.parts:
            if not getattr(part, "after_crop", False):
                images = part(images, index, labels=labels, masks=masks, view=view)
        return images

    def behind_crop(self, images: Tensor, index: Tensor, *, labels: Tensor) -> Tensor:
        """Apply the parts that come after flip and crop: (B, C, H, W) -> (B, C, H, W)."""
        for part in self.parts:
            if getattr(part, "after_crop", False):
                images = part(images, index, labels=labels)
        return images

    def targets(self, labels: Tensor) -> Targets | None:
        """Return the labels and weights of the batch changed last, or None if the labels do not change.

        If two parts mix labels, the second mixes the result of the first.
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
        """Return in which images of the batch changed last objects are no longer in place, (B,) bool; None: in none."""
        found = [part.moved() for part in self.parts if isinstance(part, Augmentation)]
        known = [each for each in found if each is not None]
        return torch.stack(known).any(0) if known else None

    @property
    def looks_at_others(self) -> bool:
        """Whether a part before the crop needs the batches of all processes, as BackMix does for its donors."""
        return any(
            isinstance(part, BackMix) or (part.looks_at_others and not part.after_crop)
            for part in self.parts
            if isinstance(part, BackMix | Augmentation)
        )

    def set_share(self, before_crop: ProcessPart, behind_crop: ProcessPart) -> None:
        """Set the part of a batch that the augmentations before the crop get, and the part for those after it."""
        for part in self.parts:
            if isinstance(part, Augmentation):
                part.share = behind_crop if part.after_crop else before_crop

    def set_generator(self, generator: torch.Generator | None) -> None:
        """Set the generator that all parts draw from."""
        for part in self.parts:
            part.generator = generator  # type: ignore[assignment]

    def attach(self, backbone: nn.Module) -> None:
        """Let parts that work on feature maps hook into a backbone."""
        for part in self.parts:
            if isinstance(part, Augmentation):
                part.attach(backbone)

    def detach(self) -> None:
        """Remove the hooks of all parts from the backbone."""
        for part in self.parts:
            if isinstance(part, Augmentation):
                part.detach()


def draw_beta(alpha: float, count: int, generator: torch.Generator | None) -> Tensor:
    """Draw from Beta(alpha, alpha).

    The Beta distribution of torch takes no generator, and at small alpha both of its gamma variables can be 0 in
    float32. The one of NumPy, seeded by the generator, has neither fault.

    Args:
        alpha: Both parameters of the distribution, above 0.
        count: The number of draws.
        generator: The source of randomness. None: torch's global generator.

    Returns:
        The draws, (count,) float32 on the CPU, in 0..1.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=device_of(generator)))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count)).float()
