"""Objectosphere: the entropic open-set loss, with long features for known images and short ones for outliers."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from backmix.methods.entropic import Entropic
from backmix.methods.outlier_exposure import minus_log_msp
from backmix.mixing.checks import check


class Objectosphere(Entropic):
    """The loss of `Entropic`, plus `max(xi - |F|, 0)^2` for a known image and `|F|^2` for an outlier.

    F are the pooled features. Source: Dhamija, Günther and Boult, "Reducing network agnostophobia", NeurIPS 2018,
    objectosphere loss. The loss moves the features of outliers towards F = 0. The head has no bias, so that F = 0 gives
    equal probabilities.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        xi: The length that the features of known images should reach (release: 50, for features of a LeNet++). It is in
            the units of the features, so check their lengths under another method first. If they are far below xi, the
            term affects every known image.
        ring_weight: The weight lambda of the two terms on lengths (release: 1e-4).
        weight: The weight of one outlier, see `Entropic`.

    Raises:
        ValueError: If there are fewer than two classes, a weight is below 0, or xi is 0 or less.
    """

    name: ClassVar[str] = "objectosphere"

    def __init__(
        self, num_features: int, num_classes: int, *, xi: float = 50.0, ring_weight: float = 1e-4, weight: float = 1.0
    ) -> None:
        super().__init__(num_features, num_classes, weight=weight, bias=False)
        check(0 < xi < float("inf"), f"{self.name}: xi is the length of features, above 0; got {xi}")
        check(0 <= ring_weight < math.inf, f"{self.name}: ring_weight is 0 or more; got {ring_weight}")
        self.xi = xi
        self.ring_weight = ring_weight

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of known images: features (B, C, h, w), labels (B,) int64 -> scalar."""
        short = (self.xi - self.lengths(features)).relu()
        return super().loss(features, labels) + self.ring_weight * short.square().mean()

    def outlier_losses(self, features: Tensor) -> Tensor:
        """Return the loss of each outlier: features (O, C, h, w) -> (O,) float32."""
        # This is not the square of `lengths`, because the gradient of a root is infinite at 0.
        squares = features.float().mean((2, 3)).square().sum(1)
        return super().outlier_losses(features) + self.ring_weight * squares

    def lengths(self, features: Tensor) -> Tensor:
        """Return the Euclidean norm |F| of the pooled features (not of logits): (B, C, h, w) -> (B,) float32."""
        self.check_features(features)
        lengths: Tensor = torch.linalg.vector_norm(features.float().mean((2, 3)), dim=1)
        return lengths

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return minus the log of `max_k p_k * |F|`: (B, C, h, w) -> (B,) float32, higher = more unknown.

        The paper ranks by the product. The log gives the same order, does not overflow and does not round p to 1.
        |F| = 0 counts as the smallest normal number, so that scores stay finite.
        """
        lengths = self.lengths(features)
        return minus_log_msp(self.logits(features)) - lengths.clamp_min(torch.finfo(torch.float32).tiny).log()
