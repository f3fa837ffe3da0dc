"""The linear head of a network, for detectors that look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from backmix.data.preprocess import Preprocess
    from backmix.methods import Method


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a new linear head with this weight and bias, float32 on the CPU, in evaluation mode. None: zero bias."""
    classes, channels = weight.shape
    head = nn.Linear(channels, classes)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(torch.zeros(classes) if bias is None else bias)
    return head.eval().requires_grad_(False)


def head_of(name: str, method: Method, backbone: nn.Module, preprocess: Preprocess) -> nn.Linear:
    """Return a copy of the linear head of a method, `method.head`, in float32 on the CPU.

    If the head has more rows than known classes, as PROSER's has, only the rows of the known classes are taken.

    Args:
        name: The name of the detector, with which errors begin.
        method: The method, in evaluation mode.
        backbone: The backbone, in evaluation mode.
        preprocess: The normalisation of the images.

    Raises:
        ValueError: If the method has no linear head, or its logits are not those of its head on pooled features.
    """
    head = getattr(method, "head", None)
    classes = method.num_classes
    if not isinstance(head, nn.Linear) or head.out_features < classes:
        raise ValueError(
            f"{name} looks at a linear head, and method {method.name} has "
            "none. Take a detector that does without, such as knn or mahalanobis."
        )
    known = linear(head.weight[:classes], None if head.bias is None else head.bias[:classes])
    size = (2, 3, preprocess.image_size, preprocess.image_size)
    trial = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(next(backbone.parameters()))
    with torch.no_grad():
        maps = backbone(trial).float()
        check_head(name, known, method.logits(maps), method.pooled(maps))
    return known


def check_head(name: str, head: nn.Linear, logits: Tensor, features: Tensor) -> Tensor:
    """Return the logits (B, K) float32 that a head gives of pooled features (B, C), on the CPU.

    Args:
        name: The name of the detector, with which errors begin.
        head: The head.
        logits: (B, K) the logits of the network.
        features: (B, C) float pooled features.

    Raises:
        ValueError: If the shapes do not fit the head, or the logits of the network are not those of the head.
    """
    fits = (features.shape, logits.shape) == ((len(features), head.in_features), (len(features), head.out_features))
    if fits:
        with torch.no_grad():
            own: Tensor = head(features.detach().cpu().float())
        if not len(own):
            return own
        given = logits.detach().cpu().float()
        gap = (own - given).abs().max()
        # The scores report a NaN.
        if bool(gap <= 0.02 * given.abs().max() + 1e-6) or bool(gap.isnan()):
            return own
    raise ValueError(
        f"{name} looks at a linear head on pooled features, and the logits of this method are not those "
        "of its head. Take a detector that does without, such as knn or mahalanobis."
    )
