"""Generalised convolutional prototype learning: a class is where its prototypes are."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backmix.methods.base import Method
from backmix.methods.logit_scores import msp
from backmix.methods.pooling import mean_squared_distance
from backmix.mixing.cam import class_activation_map
from backmix.mixing.checks import check

SCORES = ("msp", "distance")
COMBINATIONS = ("mean", "logsumexp")


class GCPL(Method):
    """Learned prototypes; logits are minus the squared distances to them.

    With the pooled features F (C numbers), d_k is ||F - m||^2 / C for the prototype m of class k, and the loss is the
    cross-entropy of -d plus weight / 2 times the mean of d_y. Yang et al., "Robust classification with convolutional
    prototype learning", CVPR 2018 (distance-based cross-entropy with prototype loss), in the form and with the
    constants of the ARPL release.

    With several prototypes for each class:

    - combine="mean", ARPL's reading: d_k is the mean over them. That is the distance to their centre plus their
      spread, a constant of the class, so they add no more than a bias.
    - combine="logsumexp", the paper's: `d_k = -log sum_m exp(-||F - m||^2 / C)`, so that a class may be in several
      places; near more than one of them it may be negative. The second term of the loss takes the distance to the
      nearest prototype of the label instead of d_y.

    Args:
        num_features: channels C of the feature map.
        num_classes: known classes K, at least 2.
        weight: of the prototype loss, 0 or more; 0.1 in the ARPL release.
        per_class: prototypes per class.
        combine: "mean" or "logsumexp", what several prototypes of a class come to.
        score: "msp", minus the largest softmax probability as the ARPL release has it, or "distance", min_k d_k, which
            also rejects what is far from all prototypes.

    Attributes:
        prototypes: (K, per_class, C), from 0.1 * normal.

    Raises:
        ValueError: for options outside their range.
    """

    name: ClassVar[str] = "gcpl"

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        weight: float = 0.1,
        per_class: int = 1,
        combine: str = "mean",
        score: str = "msp",
    ) -> None:
        super().__init__(num_features, num_classes)
        check(weight >= 0, f"{self.name}: weight is 0 or more; got {weight}")
        check(per_class >= 1, f"{self.name}: per_class counts prototypes, at least 1; got {per_class}")
        check(score in SCORES, f"{self.name}: score is {' or '.join(SCORES)}; got {score!r}")
        check(combine in COMBINATIONS, f"{self.name}: combine is {' or '.join(COMBINATIONS)}; got {combine!r}")
        self.weight = weight
        self.combine = combine
        self.score = score
        self.prototypes = nn.Parameter(0.1 * torch.randn(num_classes, per_class, num_features))

    def distances(self, features: Tensor) -> Tensor:
        """d_k of each class: features (B, C, h, w) -> (B, K) float32."""
        return self._combined(self._each(features))

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Distance-based cross-entropy and prototype loss: features (B, C, h, w), labels (B,) int64 -> scalar."""
        self.check(features, labels)
        each = self._each(features)
        distances = self._combined(each)
        own = (distances if self.combine == "mean" else each.amin(2)).gather(1, labels[:, None])
        return F.cross_entropy(-distances, labels) + self.weight * 0.5 * own.mean()

    def logits(self, features: Tensor) -> Tensor:
        """-d_k: features (B, C, h, w) -> (B, K) float32."""
        return -self.distances(features)

    def unknown_score(self, features: Tensor) -> Tensor:
        """Minus log of the largest softmax probability, or the smallest distance: (B, C, h, w) -> (B,) float32."""
        distances = self.distances(features)
        return distances.amin(1) if self.score == "distance" else msp(-distances).float()

    @torch.no_grad()
    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """What speaks for the label more than for other classes at each cell: -> (B, h, w) in 0..1, without gradient.

        `f(u).(m_y - mean_k m_k)`, cut off below 0 and scaled. m_k is the mean of the prototypes of k, with
        combine="logsumexp" weighed by their shares in the image's own d_k: up to a factor the map says how the label's
        logit, less the mean of all, changes with the cell. It is not the logit at the cell, `-||f(u) - m_y||^2 / C`,
        which has `-||f(u)||^2 / C` in it and is highest where there is nothing, as prototypes lie near 0. All classes
        have that term alike and the softmax does not see it; the difference is without it.
        """
        self.check(features, labels)
        if self.combine == "mean":
            centres = self.prototypes.mean(1)
            return class_activation_map(features, centres - centres.mean(0), labels)
        shares = (-self._each(features)).softmax(2)
        with torch.autocast(features.device.type, enabled=False):
            centres = torch.einsum("bkp,kpc->bkc", shares, self.prototypes.float())
        image = torch.arange(len(labels), device=labels.device)
        # Every image has centres of its own, and so stands in for a class here.
        return class_activation_map(features, centres[image, labels] - centres.mean(1), image)

    def _each(self, features: Tensor) -> Tensor:
        """Squared distances to all prototypes, over C: features (B, C, h, w) -> (B, K, per_class) float32."""
        self.check_features(features)
        each = mean_squared_distance(features.float().mean((2, 3)), self.prototypes.flatten(0, 1))
        return each.view(len(features), self.num_classes, -1)

    def _combined(self, each: Tensor) -> Tensor:
        """(B, K, per_class) -> (B, K)."""
        return each.mean(2) if self.combine == "mean" else -(-each).logsumexp(2)
