"""Class activation maps from a feature map: where an image holds evidence for its class."""

from __future__ import annotations

import torch
from torch import Tensor


def class_activation_map(features: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Class activation map of a network with global average pooling and a linear head.

    The map of class y at cell u is `w_y . f(u)` (Zhou et al., CVPR 2016, eq. 2): the head applied before pooling.
    Negative evidence is cut off, each map is scaled to 0..1. A bias would shift the whole map and is left out.

    Args:
        features: (B, C, h, w) float feature map before pooling.
        weight: (K, C) float weight of the linear head, or (K, C, 1, 1) of a 1x1 convolution.
        labels: (B,) int64 class of each image, 0..K-1.

    Returns:
        (B, h, w) float32 in 0..1, without gradient. All 0 where an image holds no positive evidence.

    Raises:
        ValueError: when the shapes do not fit together or (on the CPU) a label is outside 0..K-1.
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
    """Grad-CAM, for models whose head is not linear on the pooled features.

    Channels are weighted by the mean gradient of the score (Selvaraju et al., ICCV 2017, eq. 1 and 2).

    Args:
        scores: (B,) or scalar score per image that depends on `features`, such as the logit of the label.
        features: (B, C, h, w) feature map with gradient, taken from the same forward pass.
        retain_graph: keep the graph, so that the loss can still be sent backward.

    Returns:
        (B, h, w) float32 in 0..1, without gradient.

    Raises:
        ValueError: when features is not a feature map or the score does not depend on it.
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
    """Weigh the channels of each feature map, keep what is positive: (B, C, h, w), (B, C) -> (B, h, w) in 0..1."""
    # Under autocast the products would be rounded to half precision.
    with torch.autocast(features.device.type, enabled=False):
        maps = torch.einsum("bchw,bc->bhw", features.detach().float(), weight)
    return scale_map(maps.relu_())


def scale_map(maps: Tensor) -> Tensor:
    """Scale each map to 0..1 by its own minimum and maximum.

    Args:
        maps: (B, h, w) float.

    Returns:
        (B, h, w) float; a constant map becomes 0.
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    span = high - low
    return (maps - low) / torch.where(span > 0, span, torch.ones_like(span))


def check_labels(labels: Tensor, batch: int, num_classes: int) -> None:
    """Raise ValueError unless labels are (batch,) int64 within 0..num_classes-1 (values are read on the CPU alone)."""
    if labels.shape != (batch,) or labels.dtype != torch.int64:
        raise ValueError(f"labels must be ({batch},) int64; got {tuple(labels.shape)} {labels.dtype}")
    # Reading values from an accelerator would wait for it at every step.
    if labels.device.type == "cpu" and batch and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"labels must lie in 0..{num_classes - 1}; got {int(labels.min())}..{int(labels.max())}. "
            "Unknown images (-1) have no place in a training batch."
        )
