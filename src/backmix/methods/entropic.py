"""The entropic open-set loss: cross-entropy on known images, and maximum entropy as the target of outliers."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from backmix.methods.base import Images2Features, TrainingBatch
from backmix.methods.outlier_exposure import (
    cross_entropy_from_uniform,
    forward_with_outliers,
    minus_log_msp,
)
from backmix.methods.softmax import Softmax
from backmix.mixing.checks import check


class Entropic(Softmax):
    """Softmax with the loss `-(1/K) sum_k log p_k` for an image of no known class.

    Source: Dhamija, Günther and Boult, "Reducing network agnostophobia", NeurIPS 2018, entropic open-set loss. The loss
    of a batch is the mean over all its images, known images and outliers together. So a small number of outliers has a
    small weight, unlike in Outlier Exposure.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        weight: The weight of one outlier, where a known image has weight 1 (paper's formula: 1). The release gives all
            outliers together the weight of one class; with as many outliers as known images this is 1 / K.
        bias: Whether the head has a bias (release: no bias; then an image with zero features gets equal probabilities).

    Raises:
        ValueError: If there are fewer than two classes, or the weight is below 0.
    """

    name: ClassVar[str] = "entropic"
    needs_outliers: ClassVar[bool] = True
    uses_outliers: ClassVar[bool] = True

    def __init__(self, num_features: int, num_classes: int, *, weight: float = 1.0, bias: bool = False) -> None:
        super().__init__(num_features, num_classes, bias=bias)
        check(0 <= weight < math.inf, f"{self.name}: weight is 0 or more; got {weight}")
        self.weight = weight

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the feature map (B, C, h, w) of the known images, and the mean loss of known images and outliers.

        Both go through the backbone together, so that batch norm uses both.
        """
        known, outliers = forward_with_outliers(self, backbone, batch)
        loss = batch.weighted(lambda labels: self.loss(known, labels)) * len(known)
        total = loss + self.weight * self.outlier_losses(outliers).sum()
        return known, total / (len(known) + len(outliers))

    def outlier_losses(self, features: Tensor) -> Tensor:
        """Return the loss of each outlier: features (O, C, h, w) -> (O,) float32."""
        self.check_features(features)
        return cross_entropy_from_uniform(self.logits(features))

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return minus the log of the largest probability: (B, C, h, w) -> (B,) float32, higher = more unknown."""
        self.check_features(features)
        return minus_log_msp(self.logits(features))
