"""Means of the maps inside a network."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from backmix.models.backbone import keeps_channels_last, stages_inside

STAGES_LIMIT = 4  # Transformers tell of a dozen blocks, whose means would outweigh the weights in a run.


def stages_of(backbone: nn.Module) -> list[nn.Module]:
    """Modules inside a backbone that give maps to look at: its `stages_inside` but the last, whose map the method sees.

    Of many, `STAGES_LIMIT` evenly spread ones. None where a backbone does not tell.
    """
    stages = stages_inside(backbone)
    parts = min(len(stages), STAGES_LIMIT + 1)
    return [stages[round(part * len(stages) / parts) - 1] for part in range(1, parts)]


def stage_means(backbone: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Feature map of images, and (B, C_l) float32 means of the map after each of `stages_of`.

    They are means over places, or over the tokens of a transformer. A stage that gives something else is passed over.

    Args:
        backbone: normalised images (B, 3, H, W) -> feature map (B, C, h, w).
        images: (B, 3, H, W) float.
    """
    stages = stages_of(backbone)
    channels_last = keeps_channels_last(getattr(backbone, "model", None))
    found: dict[int, Tensor] = {}

    def hook(number: int) -> Any:
        def keep(module: nn.Module, _: Any, output: Any) -> None:
            # At once: an activation in place may follow.
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
    # Maps are square, as images are. Not every model of timm says that it keeps channels last.
    last = channels_last or second == third != fourth
    return output.float().mean((1, 2) if last else (2, 3))
