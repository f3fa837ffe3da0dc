"""Reciprocal point learning: a class is what is far from the points that stand for everything else."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backmix.methods.base import Method
from backmix.methods.logit_scores import msp
from backmix.methods.pooling import cell_distance, mean_squared_distance
from backmix.mixing.cam import scale_map
from backmix.mixing.checks import check

SCORES = ("msp", "logit")


class RPL(Method):
    """Learned points of "not class k"; logits are the squared distances to them.

    With the pooled features F (C numbers), d_k is the mean over the reciprocal points P of class k of ||F - P||^2 / C,
    and the loss is the cross-entropy of d plus weight times the mean of (d_y - R)^2, which keeps the known classes at
    one learned distance R. Chen et al., "Learning open set network with discriminative reciprocal points", ECCV 2020,
    in the form and with the constants of the ARPL release.

    Args:
        num_features: channels C of the feature map.
        num_classes: known classes K, at least 2.
        weight: of the second term, 0 or more; 0.1 in the ARPL release.
        per_class: reciprocal points per class. Their mean distance is that to their centre plus their spread, a
            constant of the class: no more than a bias beside one point.
        score: "msp", minus the largest softmax probability as the ARPL release has it, or "logit", minus max_k d_k.

    Attributes:
        points: (K, per_class, C), from 0.1 * normal.
        radius: R, a scalar from 0.

    Raises:
        ValueError: for options outside their range.
    """

    name: ClassVar[str] = "rpl"

    def __init__(
        self, num_features: int, num_classes: int, *, weight: float = 0.1, per_class: int = 1, score: str = "msp"
    ) -> None:
        super().__init__(num_features, num_classes)
        check(weight >= 0, f"{self.name}: weight is 0 or more; got {weight}")
        check(per_class >= 1, f"{self.name}: per_class counts reciprocal points, at least 1; got {per_class}")
        check(score in SCORES, f"{self.name}: score is {' or '.join(SCORES)}; got {score!r}")
        self.weight = weight
        self.score = score
        self.points = nn.Parameter(0.1 * torch.randn(num_classes, per_class, num_features))
        self.radius = nn.Parameter(torch.zeros(()))

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the distances, and their spread around R: features (B, C, h, w), labels (B,) -> scalar."""
        self.check(features, labels)
        distances = self.logits(features)
        own = distances.gather(1, labels[:, None])
        return F.cross_entropy(distances, labels) + self.weight * (own - self.radius).square().mean()

    def logits(self, features: Tensor) -> Tensor:
        """Squared distances, over C: features (B, C, h, w) -> (B, K) float32."""
        self.check_features(features)
        pooled = features.float().mean((2, 3))
        each = mean_squared_distance(pooled, self.points.flatten(0, 1))
        return each.view(len(pooled), self.num_classes, -1).mean(2)

    def unknown_score(self, features: Tensor) -> Tensor:
        """Minus log of the largest softmax probability, or minus the largest logit: (B, C, h, w) -> (B,) float32."""
        logits = self.logits(features)
        return -logits.amax(1) if self.score == "logit" else msp(logits).float()

    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """The label's logit at each cell, scaled: (B, C, h, w), (B,) -> (B, h, w) in 0..1, without gradient."""
        self.check(features, labels)
        # Several points only add their spread, the same at every cell.
        centres = self.points.detach().mean(1)[labels]
        return scale_map(cell_distance(features.detach(), centres))
