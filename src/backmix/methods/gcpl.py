"""Generalised convolutional prototype learning: the images of a class are near its prototypes."""

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
    """Learned prototypes. The logits are minus the squared distances to them.

    F are the pooled features (C numbers), and d_k is ||F - m||^2 / C for the prototype m of class k. The loss is the
    cross-entropy of -d, plus weight / 2 times the mean of d_y. Source: Yang et al., "Robust classification with
    convolutional prototype learning", CVPR 2018 (distance-based cross-entropy with prototype loss), in the form and
    with the constants of the ARPL release.

    If there are several prototypes for each class, `combine` decides:

    - combine="mean", as in the ARPL release: d_k is the mean over the prototypes. It equals the distance to their
      centre plus their spread, which is constant for the class. So several prototypes only add a bias.
    - combine="logsumexp", as in the paper: `d_k = -log sum_m exp(-||F - m||^2 / C)`, so a class can have several
      clusters. Near more than one prototype d_k may be negative. The second term of the loss uses the distance to the
      nearest prototype of the label instead of d_y.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        weight: The weight of the prototype loss, 0 or more; 0.1 in the ARPL release.
        per_class: The number of prototypes per class, at least 1.
        combine: The combination of several prototypes of a class, "mean" or "logsumexp".
        score: "msp" is minus the largest softmax probability, as in the ARPL release; "distance" is min_k d_k, which
            also rejects images that are far from all prototypes.

    Attributes:
        prototypes: (K, per_class, C) prototypes, which start as 0.1 * normal.

    Raises:
        ValueError: If there are fewer than two classes, or an option is outside its range.
    """

    name: ClassVar[str] = "gcpl"
    on_pooled_features: ClassVar[bool] = True

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
        """Return d_k of each class: features (B, C, h, w) -> (B, K) float32."""
        return self._combined(self._each(features))

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the distance-based cross-entropy plus the prototype loss: (B, C, h, w), (B,) int64 -> scalar."""
        self.check(features, labels)
        each = self._each(features)
        distances = self._combined(each)
        own = (distances if self.combine == "mean" else each.amin(2)).gather(1, labels[:, None])
        return F.cross_entropy(-distances, labels) + self.weight * 0.5 * own.mean()

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits -d_k: features (B, C, h, w) -> (B, K) float32."""
        return -self.distances(features)

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return minus the log of the largest softmax probability, or the smallest distance; see `score`.

        The shapes are (B, C, h, w) -> (B,) float32, higher = more unknown.
        """
        distances = self.distances(features)
        return distances.amin(1) if self.score == "distance" else msp(-distances).float()

    @torch.no_grad()
    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the evidence for the label, compared with other classes, at each cell, without gradient.

        The shapes are (B, C, h, w), (B,) -> (B, h, w) in 0..1. The map is `f(u).(m_y - mean_k m_k)`, cut off below 0
        and scaled. m_k is the mean of the prototypes of class k; with combine="logsumexp" it is weighted by their
        shares in the d_k of the image. Up to a factor, the map shows how the label's logit, minus the mean of all
        logits, changes with the cell.

        The logit at the cell, `-||f(u) - m_y||^2 / C`, is not suitable. It contains `-||f(u)||^2 / C` and is highest at
        empty cells, because prototypes are near 0. This term is the same for all classes and does not change the
        softmax; the difference does not contain it.
        """
        self.check(features, labels)
        if self.combine == "mean":
            centres = self.prototypes.mean(1)
            return class_activation_map(features, centres - centres.mean(0), labels)
        shares = (-self._each(features)).softmax(2)
        with torch.autocast(features.device.type, enabled=False):
            centres = torch.einsum("bkp,kpc->bkc", shares, self.prototypes.float())
        image = torch.arange(len(labels), device=labels.device)
        # Every image has its own centres, so the number of the image takes the place of the class here.
        return class_activation_map(features, centres[image, labels] - centres.mean(1), image)

    def _each(self, features: Tensor) -> Tensor:
        """Return the squared distances / C to all prototypes: features (B, C, h, w) -> (B, K, per_class) float32."""
        self.check_features(features)
        each = mean_squared_distance(features.float().mean((2, 3)), self.prototypes.flatten(0, 1))
        return each.view(len(features), self.num_classes, -1)

    def _combined(self, each: Tensor) -> Tensor:
        """Combine the distances to the prototypes of each class: (B, K, per_class) -> (B, K)."""
        return each.mean(2) if self.combine == "mean" else -(-each).logsumexp(2)
