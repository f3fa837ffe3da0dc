"""Entropic open-set loss: cross-entropy on known images, the greatest entropy asked for on the others."""

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
    """Softmax whose loss is, for an image of no known class, `-(1/K) sum_k log p_k`.

    Dhamija, Günther and Boult, "Reducing network agnostophobia", NeurIPS 2018, entropic open-set loss. The loss of a
    batch is the mean over all of its images, known ones and outliers alike; so, other than in Outlier Exposure, few
    outliers weigh little.

    Args:
        num_features: channels C of the feature map.
        num_classes: known classes K, at least 2.
        weight: of one outlier, where a known image weighs 1 (paper's formula: 1). The release gives all outliers
            together the weight of one class: with as many outliers as known images that is 1 / K.
        bias: whether the head has a bias (release: none; then an image without features gets equal probabilities).

    Raises:
        ValueError: for fewer than two classes or a weight below 0.
    """

    name: ClassVar[str] = "entropic"
    needs_outliers: ClassVar[bool] = True
    uses_outliers: ClassVar[bool] = True

    def __init__(self, num_features: int, num_classes: int, *, weight: float = 1.0, bias: bool = False) -> None:
        super().__init__(num_features, num_classes, bias=bias)
        check(0 <= weight < math.inf, f"{self.name}: weight is 0 or more; got {weight}")
        self.weight = weight

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """One step: feature map (B, C, h, w) of the known images, and the mean loss of known images and outliers.

        Both go through the backbone together, so that batch norm sees both.
        """
        known, outliers = forward_with_outliers(self, backbone, batch)
        loss = batch.weighted(lambda labels: self.loss(known, labels)) * len(known)
        total = loss + self.weight * self.outlier_losses(outliers).sum()
        return known, total / (len(known) + len(outliers))

    def outlier_losses(self, features: Tensor) -> Tensor:
        """Loss of each outlier: features (O, C, h, w) -> (O,) float32."""
        self.check_features(features)
        return cross_entropy_from_uniform(self.logits(features))

    def unknown_score(self, features: Tensor) -> Tensor:
        """Minus the log of the largest probability: features (B, C, h, w) -> (B,) float32, higher = more unknown."""
        self.check_features(features)
        return minus_log_msp(self.logits(features))
