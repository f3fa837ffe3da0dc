"""The means of the feature maps inside a network."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from backmix.models.backbone import keeps_channels_last, stages_inside

# Transformers have a dozen blocks, and the means of all of them would need more space than the weights in a run.
STAGES_LIMIT = 4


def stages_of(backbone: nn.Module) -> list[nn.Module]:
    """Return the stages inside a backbone whose maps a detector can use.

    They are its `stages_inside` without the last one, whose map the method already uses. If there are more than
    `STAGES_LIMIT`, that many are taken, evenly spread. The list is empty if the backbone does not name its stages.
    """
    stages = stages_inside(backbone)
    parts = min(len(stages), STAGES_LIMIT + 1)
    return [stages[round(part * len(stages) / parts) - 1] for part in range(1, parts)]


def stage_means(backbone: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the feature map of images, and the means (B, C_l) float32 of the map after each of `stages_of`.

    The means are over the places of a map, or over the tokens of a transformer. A stage with another kind of output is
    left out.

    Args:
        backbone: Normalised images (B, 3, H, W) -> feature map (B, C, h, w).
        images: (B, 3, H, W) float normalised images.
    """
    stages = stages_of(backbone)
    channels_last = keeps_channels_last(getattr(backbone, "model", None))
    found: dict[int, Tensor] = {}

    def hook(number: int) -> Any:
        def keep(module: nn.Module, _: Any, output: Any) -> None:
            # The means are taken at once, because an in-place activation may follow.
            means = _mean_over_places(output, channels_last) if isinstance(output, Tensor) else None
            if means is not None:
                found[number] = means

        return keep

    handles = [stage.register_forward_hook(hook(number)) for number, stage in enumerate(stages)]
    try:
        maps: Tensor = backbone(images)
    finally:
        for handle in handles:
            handle.remove()
    return maps, [found[number] for number in sorted(found)]


def _mean_over_places(output: Tensor, channels_last: bool) -> Tensor | None:
    if output.ndim == 3:
        return output.float().mean(1)
    if output.ndim != 4:
        return None
    _, second, third, fourth = output.shape
    # Maps are square, because images are. Not every model of timm declares that it keeps channels last.
    last = channels_last or second == third != fourth
    return output.float().mean((1, 2) if last else (2, 3))
