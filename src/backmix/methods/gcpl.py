"""Generalised convolutional prototype learning: a class is where its prototypes are."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backmix.detectors.msp import MSP
from backmix.methods.base import Method
from backmix.methods.squared_distance import mean_squared_distance
from backmix.mixing.cam import class_activation_map

SCORES = ("msp", "distance")


class GCPL(Method):
    """Learned prototypes; logits are minus the squared distances to them.

    With the pooled features F (C numbers), d_k is the mean over the prototypes m of class k of ||F - m||^2 / C, and
    the loss is the cross-entropy of -d plus weight / 2 times the mean of d_y. Yang et al., "Robust classification with
    convolutional prototype learning", CVPR 2018 (distance-based cross-entropy with prototype loss), in the form and
    with the constants of the ARPL release.

    The mean over several prototypes is the distance to their centre plus their spread, a constant of the class:
    ARPL's reading of `per_class`, and no more than a bias beside one prototype. The paper itself adds
    up the exp(-d) of a class.

    Args:
        num_features: channels C of the feature map.
        num_classes: known classes K, at least 2.
        weight: of the prototype loss, 0 or more; 0.1 in the ARPL release.
        per_class: prototypes per class.
        score: "msp", minus the largest softmax probability as the ARPL release has it, or "distance", min_k d_k, which
            also rejects what is far from all prototypes.

    Attributes:
        prototypes: (K, per_class, C), from 0.1 * normal.

    Raises:
        ValueError: for options outside their range.
    """

    name: ClassVar[str] = "gcpl"

    def __init__(
        self, num_features: int, num_classes: int, *, weight: float = 0.1, per_class: int = 1, score: str = "msp"
    ) -> None:
        super().__init__(num_features, num_classes)
        if not weight >= 0:
            raise ValueError(f"{self.name}: weight is 0 or more; got {weight}")
        if per_class < 1:
            raise ValueError(f"{self.name}: per_class counts prototypes, at least 1; got {per_class}")
        if score not in SCORES:
            raise ValueError(f"{self.name}: score is {' or '.join(SCORES)}; got {score!r}")
        self.weight = weight
        self.score = score
        self.prototypes = nn.Parameter(0.1 * torch.randn(num_classes, per_class, num_features))

    def distances(self, features: Tensor) -> Tensor:
        """Squared distance to each class, over C: features (B, C, h, w) -> (B, K) float32."""
        self.check_features(features)
        pooled = features.float().mean((2, 3))
        each = mean_squared_distance(pooled, self.prototypes.flatten(0, 1))
        return each.view(len(pooled), self.num_classes, -1).mean(2)

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Distance-based cross-entropy and prototype loss: features (B, C, h, w), labels (B,) int64 -> scalar."""
        self.check(features, labels)
        distances = self.distances(features)
        own = distances.gather(1, labels[:, None])
        return F.cross_entropy(-distances, labels) + self.weight * 0.5 * own.mean()

    def logits(self, features: Tensor) -> Tensor:
        """Minus the squared distances: features (B, C, h, w) -> (B, K) float32."""
        return -self.distances(features)

    def unknown_score(self, features: Tensor) -> Tensor:
        """Minus log of the largest softmax probability, or the smallest distance: (B, C, h, w) -> (B,) float32."""
        distances = self.distances(features)
        return distances.amin(1) if self.score == "distance" else MSP()(-distances, None).float()

    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """What speaks for the label more than for other classes at each cell: -> (B, h, w) in 0..1, without gradient.

        The label's logit less the mean of all: 2 f(u).(m_y - mean m) / C and a constant. The logit alone is highest
        where there is nothing, as prototypes lie near 0; what all classes share does not move the softmax.
        """
        self.check(features, labels)
        centres = self.prototypes.detach().mean(1)
        return class_activation_map(features, centres - centres.mean(0), labels)
