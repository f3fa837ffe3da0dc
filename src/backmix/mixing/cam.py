"""Class activation maps, made from a feature map. They show where an image holds evidence for its class."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.mixing.uncompiled import uncompiled


def class_activation_map(features: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Return the class activation maps of a network with global average pooling and a linear head.

    The map of class y at cell u is `w_y . f(u)` (Zhou et al., CVPR 2016, eq. 2): the head is applied before pooling.
    Negative evidence becomes 0, and each map is scaled to 0..1. The bias of the head would shift the whole map, so it
    is left out.

    Args:
        features: The feature map before pooling, (B, C, h, w) float.
        weight: The weight of the linear head, (K, C) float, or of a 1x1 convolution, (K, C, 1, 1).
        labels: The class of each image, (B,) int64 in 0..K-1.

    Returns:
        The maps, (B, h, w) float32 in 0..1, without gradient. The map of an image without positive evidence is 0
        everywhere.

    Raises:
        ValueError: If the shapes do not fit together, or if (on the CPU) a label is outside 0..K-1.
    """
    if weight.ndim == 4 and weight.shape[2:] == (1, 1):
        weight = weight[:, :, 0, 0]
    if features.ndim != 4:
        raise ValueError(f"features must be a feature map (B, C, h, w) before pooling; got {tuple(features.shape)}")
    if weight.ndim != 2 or weight.shape[1] != features.shape[1]:
        raise ValueError(
            f"weight must be (K, {features.shape[1]}) for these features; got {tuple(weight.shape)}. "
            "Is there a layer between the feature map and the head? Then use grad_cam."
        )
    check_labels(labels, len(features), len(weight))
    return _weighted_sum(features, weight.detach().float()[labels])


def grad_cam(scores: Tensor, features: Tensor, *, retain_graph: bool = True) -> Tensor:
    """Return the Grad-CAM maps of a model whose head is not linear on the pooled features.

    Each channel is weighted by the mean gradient of the score (Selvaraju et al., ICCV 2017, eq. 1 and 2).

    Args:
        scores: The score of each image, such as the logit of its label, (B,) or scalar. It depends on `features`.
        features: The feature map of the same forward pass, (B, C, h, w), with gradient.
        retain_graph: Whether to keep the graph, so that the loss can still be sent backward.

    Returns:
        The maps, (B, h, w) float32 in 0..1, without gradient.

    Raises:
        ValueError: If `features` is not a feature map, or if the scores do not depend on it.
    """
    if features.ndim != 4:
        raise ValueError(f"features must be a feature map (B, C, h, w); got {tuple(features.shape)}")
    if scores.ndim > 1 or scores.numel() not in (1, len(features)):
        raise ValueError(f"scores must be ({len(features)},), one number per image; got {tuple(scores.shape)}")
    if not features.requires_grad or not scores.requires_grad:
        raise ValueError("grad_cam needs a forward pass with gradients: features and scores must require grad")
    (gradient,) = torch.autograd.grad(scores.sum(), features, retain_graph=retain_graph, allow_unused=True)
    if gradient is None:
        raise ValueError("the scores do not depend on these features: were both taken from the same forward pass?")
    return _weighted_sum(features, gradient.float().mean((2, 3)))


@torch.no_grad()
def _weighted_sum(features: Tensor, weight: Tensor) -> Tensor:
    """Sum the weighted channels of each feature map, negative sums as 0: (B, C, h, w), (B, C) -> (B, h, w) in 0..1."""
    # Under autocast the products would be rounded to half precision.
    with torch.autocast(features.device.type, enabled=False):
        maps = torch.einsum("bchw,bc->bhw", features.detach().float(), weight)
    return scale_map(maps.relu_())


def scale_map(maps: Tensor) -> Tensor:
    """Scale each map to 0..1 by its own minimum and maximum.

    Args:
        maps: The maps, (B, h, w) float.

    Returns:
        The scaled maps, (B, h, w) float. A constant map becomes 0.
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    span = high - low
    return (maps - low) / torch.where(span > 0, span, torch.ones_like(span))


@uncompiled
def check_labels(labels: Tensor, batch: int, num_classes: int) -> None:
    """Raise ValueError unless labels are (batch,) int64 in 0..num_classes-1 (values are checked only on the CPU)."""
    if labels.shape != (batch,) or labels.dtype != torch.int64:
        raise ValueError(f"labels must be ({batch},) int64; got {tuple(labels.shape)} {labels.dtype}")
    # To read values from an accelerator would mean to wait for it at every step.
    if labels.device.type == "cpu" and batch and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"labels must lie in 0..{num_classes - 1}; got {int(labels.min())}..{int(labels.max())}. "
            "Unknown images (-1) have no place in a training batch."
        )
