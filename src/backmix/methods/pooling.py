"""Squared distances from features to learned points, over the number of features, as GCPL, RPL and ARPL take them."""

from __future__ import annotations

import torch
from torch import Tensor


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
