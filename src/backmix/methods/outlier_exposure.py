"""Outlier Exposure: cross-entropy on known images, and equal probabilities as the target of outliers."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from backmix.methods.base import Images2Features, Method, TrainingBatch
from backmix.methods.softmax import Softmax
from backmix.mixing.checks import check

SCORES = ("msp", "uniform")


class OutlierExposure(Softmax):
    """Softmax, plus the cross-entropy of outliers with equal probabilities for all classes as the target.

    Source: Hendrycks, Mazeika and Dietterich, "Deep anomaly detection with outlier exposure", ICLR 2019. The loss is
    `CE(known) + weight * mean over outliers of (logsumexp_k z_k - mean_k z_k)`. A step shows two outliers from a data
    set for each known image, as in the paper (256 for 128).

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        weight: The weight of the outliers' term, 0 or more (paper and release: 0.5).
        score: "msp" (paper) is minus the log of the largest probability; "uniform" (an option of the release) is minus
            the cross-entropy with equal probabilities as the target.
        bias: Whether the head has a bias.

    Raises:
        ValueError: If there are fewer than two classes, the weight is below 0, or the score has another name.
    """

    name: ClassVar[str] = "outlier-exposure"
    needs_outliers: ClassVar[bool] = True
    uses_outliers: ClassVar[bool] = True
    outlier_share: ClassVar[float] = 2.0

    def __init__(
        self, num_features: int, num_classes: int, *, weight: float = 0.5, score: str = "msp", bias: bool = True
    ) -> None:
        super().__init__(num_features, num_classes, bias=bias)
        check(0 <= weight < math.inf, f"{self.name}: weight is 0 or more; got {weight}")
        check(score in SCORES, f"{self.name}: score is one of {', '.join(SCORES)}; got {score!r}")
        self.weight = weight
        self.score = score

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the feature map (B, C, h, w) of the known images, and the loss of known images and outliers.

        Both go through the backbone together, so that batch norm uses both, as in the release.
        """
        known, outliers = forward_with_outliers(self, backbone, batch)
        loss = batch.weighted(lambda labels: self.loss(known, labels))
        return known, loss + self.weight * self.outlier_loss(outliers)

    def outlier_loss(self, features: Tensor) -> Tensor:
        """Return the mean cross-entropy with equal probabilities as the target: features (O, C, h, w) -> scalar.

        It is 0 if there are no outliers.
        """
        self.check_features(features)
        return cross_entropy_from_uniform(self.logits(features)).sum() / max(1, len(features))

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return the unknown scores, see `score`: features (B, C, h, w) -> (B,) float32, higher = more unknown."""
        self.check_features(features)
        logits = self.logits(features)
        return minus_log_msp(logits) if self.score == "msp" else -cross_entropy_from_uniform(logits)


def forward_with_outliers(method: Method, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
    """Return the feature maps of a batch's images and of its outliers, from one forward pass over both.

    Returns:
        The feature maps (B, C, h, w) of the images and (O, C, h, w) of the outliers.

    Raises:
        ValueError: If there are no outliers, or they have another size than the images; with the method's name.
    """
    outliers = method.check_outliers(batch)
    if outliers.shape[1:] != batch.images.shape[1:]:
        raise ValueError(
            f"{method.name}: outliers must be as large as the images, {tuple(batch.images.shape[1:])}; "
            f"got {tuple(outliers.shape[1:])}"
        )
    features = backbone(torch.cat([batch.images, outliers]))
    return features[: len(batch.images)], features[len(batch.images) :]


def cross_entropy_from_uniform(logits: Tensor) -> Tensor:
    """Return -(1/K) sum_k log p_k of each image, at least log K: logits (B, K) -> (B,) float32."""
    logits = logits.float()
    return logits.logsumexp(1) - logits.mean(1)


def minus_log_msp(logits: Tensor) -> Tensor:
    """Return minus the log of the largest probability, 0 or more: logits (B, K) -> (B,) float32.

    It sums the probabilities of the other classes and does not subtract from 1, so that confident images do not tie;
    see `backmix.detectors.msp`.
    """
    top, best = logits.float().max(1, keepdim=True)
    return (logits.float() - top).exp().scatter(1, best, 0.0).sum(1).log1p()
