"""The Mahalanobis distance to the nearest class mean, with a covariance that few images can carry."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.detectors.base import Detector
from backmix.methods.shrunk_covariance import Whitening, shrunk_whitening
from backmix.methods.unit_features import check_features, check_training, unit_class_means, unit_rows


class ShrunkMahalanobis(Detector):
    """The smallest squared Mahalanobis distance to a class mean, 0 or more, of features of length 1.

    Each class has a Gaussian distribution with its own mean, and all have the same covariance (Lee et al., "A simple
    unified framework for detecting out-of-distribution samples and adversarial attacks", NeurIPS 2018, eq. 2). The
    features are divided by their length first (Mueller and Hein, "Mahalanobis++", ICML 2025). The covariance within the
    classes is shrunk to a multiple of the identity (Ledoit and Wolf, "A well-conditioned estimator for
    large-dimensional covariance matrices", Journal of Multivariate Analysis 2004, section 3.3), so it has an inverse
    even with fewer images than channels:

        S = 1/N sum_i r_i r_i^T,   m = tr S / C,   b = min(|S - m I|^2, 1/N^2 sum_i |r_i|^4 - |S|^2 / N)
        covariance = (1 - s) S + s m I,   s = max(b / |S - m I|^2, 1 / (N - K + 1))

    Here r_i is the deviation of training image i from its class mean, and |.| is the Euclidean or Frobenius norm. The
    bound of s is not in the paper: with a handful of deviations, which also add up to zero in each class, b can be 0
    and then S alone has no inverse. If the images do not deviate from their class means, for example with one image in
    each class, the covariance is I / C, the mean square of the C numbers of a vector of length 1.

    The square of the distance is the score because it is the one that the sources use, it grows like minus twice the
    log density, and its gradient is finite everywhere. The order of images is that of the distance.

    Attributes:
        centre: (C,) float64, the mean of the class means; None before `fit`.
        whitening: The map that makes the squared Mahalanobis distance a squared Euclidean distance.
        means: (K, C) float64, the class means after subtracting `centre` and whitening.
        shrinkage: The number s, from 0 to 1.
    """

    needs_fitting = True

    def __init__(self) -> None:
        self.centre: Tensor | None = None
        self.whitening = Whitening(torch.empty(0))
        self.means = torch.empty(0)
        self.shrinkage = 1.0

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Fit the detector on known training images: logits (N, K), pooled features (N, C), labels (N,) int64.

        Of the logits, only the number K of classes is used.

        Raises:
            ValueError: If the shapes do not agree, a class has no image, or a feature is not finite.
        """
        check_training("shrunk_mahalanobis", logits, features, labels)
        means = unit_class_means(features, labels, logits.shape[1])
        self.whitening, self.shrinkage = shrunk_whitening(features, labels, means)
        self.centre = means.mean(0)
        self.means = self.whitening(means - self.centre)

    def __call__(self, logits: Tensor | None, features: Tensor) -> Tensor:
        """Return unknown scores: pooled features (B, C) float -> (B,) float64. The logits are not used.

        The score is NaN if one of the features of the image is not finite.

        Raises:
            ValueError: If `fit` was not called, or the features have a wrong shape or dtype.
        """
        if self.centre is None:
            raise ValueError("shrunk_mahalanobis: fit it on training images first")
        check_features("shrunk_mahalanobis", features, len(self.centre))
        rows = unit_rows(features)
        centre, means = self.centre.to(rows), self.means.to(rows)
        white = self.whitening(rows - centre)  # (B, C)
        # |w - m|^2 is multiplied out: differences of all images and means would need B x K x C numbers. Rounding
        # costs nothing that counts in float64, because |w|^2 and the distance both are about C.
        nearest = (means.square().sum(1) - 2 * white @ means.T).amin(1)
        return (white.square().sum(1) + nearest).clamp(min=0)
