"""What methods make of feature maps, in float32: a linear layer on their mean, squared distances to learned points."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mean_squared_distance(vectors: Tensor, points: Tensor) -> Tensor:
    """||f - p||^2 / C for every vector and every point: (B, C), (P, C) float -> (B, P) float32.

    It is taken apart into |f|^2 - 2 f.p + |p|^2, so that nothing of size (B, P, C) is built; where a vector all but
    sits on a point, rounding can leave a value about 1e-7 of |f|^2 / C below 0.
    """
    vectors, points = vectors.float(), points.float()
    # Under autocast the product would be rounded to half precision, and the difference of large terms with it.
    with torch.autocast(vectors.device.type, enabled=False):
        squares = vectors.square().mean(1, keepdim=True) + points.square().mean(1)
        return squares - vectors @ points.T * (2 / vectors.shape[1])


@torch.no_grad()
def cell_distance(features: Tensor, points: Tensor) -> Tensor:
    """||f(u) - p||^2 / C at each cell u: feature maps (B, C, h, w), a point for each (B, C) -> (B, h, w) float32."""
    return (features.float() - points.float()[:, :, None, None]).square_().mean(1)


def pooled_linear(layer: nn.Linear, features: Tensor) -> Tensor:
    """The layer on the mean over cells, in float32 also under autocast: (B, C, h, w) in any float dtype -> (B, K).

    In bf16 a logit near 10 has steps of 1/16: more than what tells one image from another.
    """
    pooled = features.mean((2, 3), dtype=torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        bias = None if layer.bias is None else layer.bias.float()
        return F.linear(pooled, layer.weight.float(), bias)
