"""Reciprocal point learning: the images of a class are far from the points that stand for everything else."""

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
    """Learned reciprocal points, which stand for "not class k". The logits are the squared distances to them.

    F are the pooled features (C numbers), and d_k is the mean of ||F - P||^2 / C over the reciprocal points P of class
    k. The loss is the cross-entropy of d, plus weight times the mean of (d_y - R)^2, which keeps the known classes at
    one learned distance R.

    Source: Chen et al., "Learning open set network with discriminative reciprocal points", ECCV 2020, in the form and
    with the constants of the ARPL release.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        weight: The weight of the second term, 0 or more; 0.1 in the ARPL release.
        per_class: The number of reciprocal points per class, at least 1. The mean distance to several points is the
            distance to their centre plus their spread, which is constant for the class. So several points act like one
            point with a bias.
        score: "msp" is minus the largest softmax probability, as in the ARPL release; "logit" is minus max_k d_k.

    Attributes:
        points: (K, per_class, C) reciprocal points, which start as 0.1 * normal.
        radius: The scalar distance R, which starts at 0.

    Raises:
        ValueError: If there are fewer than two classes, or an option is outside its range.
    """

    name: ClassVar[str] = "rpl"
    on_pooled_features: ClassVar[bool] = True

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
        """Return the cross-entropy of the distances plus the second term: (B, C, h, w), labels (B,) -> scalar."""
        self.check(features, labels)
        distances = self.logits(features)
        own = distances.gather(1, labels[:, None])
        return F.cross_entropy(distances, labels) + self.weight * (own - self.radius).square().mean()

    def logits(self, features: Tensor) -> Tensor:
        """Return the mean squared distances / C: features (B, C, h, w) -> (B, K) float32."""
        self.check_features(features)
        pooled = features.float().mean((2, 3))
        each = mean_squared_distance(pooled, self.points.flatten(0, 1))
        return each.view(len(pooled), self.num_classes, -1).mean(2)

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return minus the log of the largest softmax probability, or minus the largest logit; see `score`.

        The shapes are (B, C, h, w) -> (B,) float32, higher = more unknown.
        """
        logits = self.logits(features)
        return -logits.amax(1) if self.score == "logit" else msp(logits).float()

    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the label's logit at each cell, scaled: (B, C, h, w), (B,) -> (B, h, w) in 0..1, without gradient."""
        self.check(features, labels)
        # Several points only add their spread, which is the same at every cell.
        centres = self.points.detach().mean(1)[labels]
        return scale_map(cell_distance(features.detach(), centres))
