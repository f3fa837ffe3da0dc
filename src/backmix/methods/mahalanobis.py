"""Mahalanobis distances to the class means, with one shrunk covariance for all classes: a linear discriminant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor

from backmix.methods.base import Method
from backmix.methods.shrunk_covariance import shrunk_whitening
from backmix.methods.unit_features import pooled_training, unit_class_means, unit_rows
from backmix.mixing.cam import class_activation_map


class Mahalanobis(Method):
    """A Gaussian for each class with one shrunk covariance, computed from the training images without gradient steps.

    f are the pooled features, divided by their length. m_k is the mean of class k, and d_k^2 is the squared Mahalanobis
    distance (f - m_k)^T covariance^-1 (f - m_k). The logits are -d_k^2 / 2, the log densities up to a constant, so the
    classifier is linear discriminant analysis with classes that are equally frequent. The unknown score is the smallest
    d_k^2 (Lee et al., "A simple unified framework for detecting out-of-distribution samples and adversarial attacks",
    NeurIPS 2018, eq. 2). Covariance and score are those of the detector `shrunk_mahalanobis`, where the formula of the
    shrinkage (Ledoit and Wolf, 2004) stands.

    With many channels the distances differ by tens or hundreds, so almost all probabilities round to 0 or 1. They do
    not say how often the answer is right.

    The network keeps C x C numbers for the covariance, 6.5 MB for 1,280 channels.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.

    Attributes:
        centre: (C,) float32, the mean of the class means.
        whitening: (C, C) float32 matrix W with W W^T = covariance^-1; the identity before `learn`.
        means: (K, C) float32, the class means after subtracting `centre` and multiplying by W.
        shrinkage: Scalar, the share of the identity in the covariance, from 0 to 1.

    Raises:
        ValueError: If there are fewer than two classes.
    """

    name: ClassVar[str] = "mahalanobis"
    needs_statistics: ClassVar[bool] = True
    on_pooled_features: ClassVar[bool] = True
    learns_at_once: ClassVar[bool] = True

    centre: Tensor
    whitening: Tensor
    means: Tensor
    shrinkage: Tensor

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__(num_features, num_classes)
        self.register_buffer("centre", torch.zeros(num_features))
        self.register_buffer("whitening", torch.eye(num_features))
        self.register_buffer("means", torch.zeros(num_classes, num_features))
        self.register_buffer("shrinkage", torch.tensor(1.0))

    def distances(self, features: Tensor) -> Tensor:
        """Return the squared distances d_k^2 to the class means: features (B, C, h, w) -> (B, K) float32, 0 or more."""
        self.check_features(features)
        rows = unit_rows(features.float().mean((2, 3)))
        centre, whitening, means = (x.to(rows) for x in (self.centre, self.whitening, self.means))
        white = (rows - centre) @ whitening  # (B, C)
        # |w - m|^2 is multiplied out: differences of all images and means would need B x K x C numbers.
        squares = white.square().sum(1, keepdim=True) + means.square().sum(1)
        return (squares - 2 * white @ means.T).clamp(min=0).float()

    def logits(self, features: Tensor) -> Tensor:
        """Return minus half the squared distances: features (B, C, h, w) -> (B, K) float32, 0 or less."""
        return -self.distances(features) / 2

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return the smallest squared distance: (B, C, h, w) -> (B,) float32, 0 or more, higher = more unknown."""
        return self.distances(features).amin(1)

    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the evidence for the label, compared with other classes, at each cell, without gradient.

        The shapes are (B, C, h, w), (B,) -> (B, h, w) in 0..1. The map is `f(u).a_y`, cut off below 0 and scaled, with
        a_y = covariance^-1 (m_y - mean_k m_k). The logit minus the mean of all logits is linear in the features of
        length 1, with the weight a_y: what all classes share, -f^T covariance^-1 f / 2, is not in the difference. Up to
        the length of the pooled features, the map shows the part of each cell.
        """
        self.check(features, labels)
        # The means are those of whitened features without their centre, so they add up to zero over the classes.
        return class_activation_map(features, self.means @ self.whitening.T, labels)

    @torch.no_grad()
    def learn(self, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Compute means and covariance in one pass over the training images.

        Raises:
            ValueError: If a class has no training image, or a feature is not finite.
        """
        features, labels = pooled_training(self.name, batches, self.num_classes, self.num_features)
        means = unit_class_means(features, labels, self.num_classes)
        whitening, shrinkage = shrunk_whitening(features, labels, means)
        centre = means.mean(0)
        self.centre.copy_(centre)
        self.whitening.copy_(whitening.matrix())
        self.means.copy_(whitening(means - centre))
        self.shrinkage.fill_(shrinkage)
