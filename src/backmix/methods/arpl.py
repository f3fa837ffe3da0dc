"""Adversarial reciprocal point learning: images are far from their class's reciprocal point, in one bounded space."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backmix.methods.base import Method
from backmix.methods.pooling import cell_distance, mean_squared_distance
from backmix.mixing.cam import scale_map
from backmix.mixing.checks import check


class ARPL(Method):
    """Reciprocal points with distances in length and angle, limited by a margin.

    F are the pooled features (C numbers) and P_k is the point of class k. The logits are
    d_k = ||F - P_k||^2 / C - F.P_k; only the squared part is divided by C. The loss is the cross-entropy of d, plus
    weight times the mean of max(0, ||F - P_y||^2 / C - R + 1), with one learned radius R for all classes.

    Source: Chen et al., "Adversarial reciprocal points learning for open set recognition", TPAMI 2022, with the
    constants of the authors' release. The authors train with SGD at learning rate 0.1 (Tiny-ImageNet: Adam at 0.001).
    Points and radius are trained together with the network.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        weight: The weight of the margin term, 0 or more; 0.1 in the release.

    Attributes:
        points: (K, C) reciprocal points, which start as 0.1 * normal.
        radius: The scalar radius R, which starts at 0.

    Raises:
        ValueError: If there are fewer than two classes, or the weight is negative.
    """

    name: ClassVar[str] = "arpl"
    on_pooled_features: ClassVar[bool] = True

    def __init__(self, num_features: int, num_classes: int, *, weight: float = 0.1) -> None:
        super().__init__(num_features, num_classes)
        check(weight >= 0, f"{self.name}: weight is 0 or more; got {weight}")
        self.weight = weight
        self.points = nn.Parameter(0.1 * torch.randn(num_classes, num_features))
        self.radius = nn.Parameter(torch.zeros(()))

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy plus the margin term: features (B, C, h, w), labels (B,) int64 -> scalar."""
        self.check(features, labels)
        squared, dot = self._parts(features)
        own = squared.gather(1, labels[:, None])
        return F.cross_entropy(squared - dot, labels) + self.weight * F.relu(own - self.radius + 1).mean()

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits ||F - P_k||^2 / C - F.P_k: features (B, C, h, w) -> (B, K) float32."""
        squared, dot = self._parts(features)
        return squared - dot

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return minus the largest logit: features (B, C, h, w) -> (B,) float32, higher = more unknown."""
        return -self.logits(features).amax(1)

    @torch.no_grad()
    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the label's logit at each cell, scaled: (B, C, h, w), (B,) -> (B, h, w) in 0..1, without gradient."""
        self.check(features, labels)
        points = self.points[labels]
        with torch.autocast(features.device.type, enabled=False):
            dot = torch.einsum("bchw,bc->bhw", features.float(), points.float())
        return scale_map(cell_distance(features, points) - dot)

    def _parts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return squared distances / C, and dot products: features (B, C, h, w) -> (B, K), (B, K) float32."""
        self.check_features(features)
        pooled = features.float().mean((2, 3))
        with torch.autocast(features.device.type, enabled=False):
            return mean_squared_distance(pooled, self.points), pooled @ self.points.float().T
