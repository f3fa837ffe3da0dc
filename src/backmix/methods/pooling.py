"""Functions of feature maps in float32: a linear layer on their mean, and squared distances to learned points."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mean_squared_distance(vectors: Tensor, points: Tensor) -> Tensor:
    """Return ||f - p||^2 / C for every vector and every point: (B, C), (P, C) float -> (B, P) float32.

    It is computed as |f|^2 - 2 f.p + |p|^2, without a tensor of size (B, P, C). If a vector is almost equal to a point,
    rounding can give a value below 0 by about 1e-7 of |f|^2 / C.
    """
    vectors, points = vectors.float(), points.float()
    # Autocast would round the product to half precision, and the difference of large terms would be wrong.
    with torch.autocast(vectors.device.type, enabled=False):
        squares = vectors.square().mean(1, keepdim=True) + points.square().mean(1)
        return squares - vectors @ points.T * (2 / vectors.shape[1])


@torch.no_grad()
def cell_distance(features: Tensor, points: Tensor) -> Tensor:
    """Return ||f(u) - p||^2 / C at each cell u: maps (B, C, h, w), one point for each (B, C) -> (B, h, w) float32."""
    return (features.float() - points.float()[:, :, None, None]).square_().mean(1)


def pooled_linear(layer: nn.Linear, features: Tensor) -> Tensor:
    """Apply a linear layer to the mean over cells, in float32 also under autocast: (B, C, h, w) float -> (B, K).

    A logit near 10 has steps of 1/16 in bf16, which is more than the difference between some images.
    """
    pooled = features.mean((2, 3), dtype=torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        bias = None if layer.bias is None else layer.bias.float()
        return F.linear(pooled, layer.weight.float(), bias)
