"""MixStyle mixes the mean and deviation of early feature maps between images. Labels do not change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from backmix.augmentations.base import Augmentation, draw_beta
from backmix.models.backbone import keeps_channels_last, stages_inside


@dataclass(frozen=True)
class MixStyleDraw:
    """The random choices for a batch of feature maps.

    Attributes:
        partner: The partner of each image, (B,) int64.
        share: The share of each image's own style, (B,) float in 0..1.
    """

    partner: Tensor
    share: Tensor


class MixStyle(Augmentation):
    """An augmentation that gives each channel of an image a mixture of its own and a partner's mean and deviation.

    Zhou, Yang, Qiao, Xiang, "Domain Generalization with MixStyle", ICLR 2021. It works on the outputs of early stages
    of the backbone given to `attach`, as long as the backbone is in training mode; images pass unchanged. Each stage
    has its own draw.

    Args:
        alpha: Both parameters of the Beta distribution from which the share of the own style is drawn, for each image
            (paper: 0.1).
        probability: The probability that a batch is mixed, at each stage (paper: 0.5).
        stages: The numbers of the stages, counted from 1, among `backbone.stages_inside()` (paper: the first two
            stages of a ResNet). Many networks of timm count their stem as the first stage; for them the choice of the
            paper is (2, 3).
        generator: The source of randomness. None: torch's global generator.

    Raises:
        ValueError: If alpha is not above 0, if the probability is outside 0..1, or if there are no stages, or a stage
            is below 1 or occurs twice.
    """

    name = "mixstyle"
    options = ("alpha", "probability", "stages")
    looks_at_others = False  # The images pass unchanged; styles are mixed within the part of a process.
    inside_network = True

    def __init__(
        self,
        *,
        alpha: float = 0.1,
        probability: float = 0.5,
        stages: Sequence[int] = (1, 2),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(probability=probability, generator=generator)
        self._check(alpha > 0, f"alpha is above 0; got {alpha}")
        fits = bool(stages) and min(stages) >= 1 and len(set(stages)) == len(stages)
        self._check(fits, f"stages are different numbers, counted from 1; got {tuple(stages)}")
        self.alpha = alpha
        self.stages = tuple(stages)
        self._handles: list[RemovableHandle] = []
        self._backbone = ""

    def forward(self, images: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return the images unchanged: the mixing happens inside the backbone, with a draw at each stage."""
        return images

    def attach(self, backbone: nn.Module) -> None:
        """Mix the outputs of the stages of a backbone until `detach`. A backbone attached before is detached first.

        Raises:
            ValueError: If the backbone does not name its stages, has too few stages, or keeps channels last.
        """
        self.detach()
        name = getattr(backbone, "name", type(backbone).__name__)
        stages = stages_inside(backbone)
        if len(stages) < max(self.stages):
            raise ValueError(
                f"mixstyle works behind stages {', '.join(map(str, self.stages))} of a backbone, and {name} tells of "
                f"{len(stages)}; choose another model, such as resnet18, or other stages"
            )
        if keeps_channels_last(getattr(backbone, "model", None)):
            raise ValueError(_refusal(str(name), "channels-last maps (B, h, w, C)"))
        self._backbone = str(name)
        self._handles = [stages[number - 1].register_forward_hook(self._on_output) for number in self.stages]

    def detach(self) -> None:
        """Remove the hooks from the backbone, so that its outputs are no longer mixed."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def draw(self, batch: int, *_: int) -> MixStyleDraw | None:
        """Draw for a batch at one stage. None: the batch does not change."""
        if self._leaves_batch():
            return None
        share = draw_beta(self.alpha, batch, self.generator)
        return MixStyleDraw(self._randperm(batch), share)

    def change(self, features: Tensor, draw: MixStyleDraw) -> Tensor:
        """Mix the styles of feature maps (B, C, h, w) as drawn. Means and deviations pass no gradient."""
        partner, share = draw.partner.to(features.device), draw.share.to(features.device)[:, None, None, None]
        maps = features.float()
        with torch.no_grad():
            # The deviation divides by all cells, as in the equation of the paper. A correction factor would cancel.
            variance, mean = torch.var_mean(maps, (2, 3), correction=0, keepdim=True)
            deviation = (variance + 1e-6).sqrt()
            scale = torch.lerp(deviation[partner], deviation, share) / deviation
            shift = torch.lerp(mean[partner], mean, share)
        return ((maps - mean) * scale + shift).to(features.dtype)

    def _on_output(self, stage: nn.Module, _: Any, output: Any) -> Tensor | None:
        if not (self.training and stage.training):
            return None
        if not isinstance(output, Tensor) or output.ndim != 4:
            found = f"tensors {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(_refusal(self._backbone, found))
        batch, second, third, fourth = output.shape
        # Images are usually square, and so are their maps. Not every model declares that it keeps channels last.
        if second == third != fourth:
            raise ValueError(_refusal(self._backbone, f"what looks like channels-last maps {tuple(output.shape)}"))
        draw = self.draw(batch)
        return None if draw is None else self.change(output, draw)


def _refusal(name: str, found: str) -> str:
    return (
        f"mixstyle mixes feature maps (B, C, h, w) and the stages of {name} give {found}; "
        "choose a convolutional model, such as resnet18"
    )
