"""The Mahalanobis distance to the nearest class mean, less that to the mean of all training images."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.detectors.base import Detector
from backmix.detectors.blocks import centred_blocks
from backmix.detectors.whitening import whitening_of
from backmix.detectors.wrapped import WRAPPED
from backmix.methods.unit_features import check_features, wide_dtype


class RelativeMahalanobis(Detector):
    """The smallest squared Mahalanobis distance to a class mean, less that to the mean of all training images.

    Ren et al., "A simple fix to Mahalanobis distance for improving near-OOD detection", 2021, eq. 3. With S the
    covariance within classes and T that of all N training images, m_k the class means and m the mean of all:

        score = 1 / N min_k ((x - m_k)^T S^-1 (x - m_k) - (x - m)^T T^-1 (x - m))

    The factor 1 / N is that of pytorch-ood 0.4, whose scores these are. S^-1 is a pseudo-inverse, see `Whitening`, and
    directions in which no class varies count for neither distance.

    T - S is the covariance of the class means, and S is the identity after whitening. Across all directions in which
    the whitened class means do not differ both distances are the same, so they cancel, and only the K - 1 or fewer
    others are computed: those of Fisher's linear discriminants. With their variances v_j among class means, weighted by
    the number of images, with p_j the coordinates of x - m, and q_kj those of m_k - m:

        score = 1 / N (min_k |p - q_k|^2 - sum_j p_j^2 / (1 + v_j))

    The detector runs on the CPU, in float64.
    """

    needs_fitting = True

    def __init__(self) -> None:
        self.centre: Tensor | None = None
        self.discriminants = torch.empty(0)  # (C, J)
        self.means = torch.empty(0)  # (K, J)
        self.weights = torch.empty(0)  # (J,), v_j / (1 + v_j).
        self.count = 0

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Fit the detector on known training images: logits (N, K), pooled features (N, C), labels (N,) int64.

        Of the logits, only the number K of classes is used.

        Raises:
            ValueError: If the shapes do not agree, a class has no image, a feature is not finite, or no class varies.
        """
        features, labels = features.detach().cpu(), labels.cpu().long()
        white = whitening_of("rmd", logits, features, labels)
        self.centre, self.count = white.mean, len(features)
        means = (white.class_means - white.mean) @ white.matrix  # (K, D)
        shares = labels.bincount().double() / self.count
        _, spread, directions = torch.linalg.svd(shares.sqrt()[:, None] * means, full_matrices=False)
        self.weights = spread.square() / (1 + spread.square())
        self.discriminants = white.matrix @ directions.T
        self.means = means @ directions.T
        self.caution = WRAPPED["rmd"].caution("rmd", self.count, logits.shape[1], features.shape[1])

    def __call__(self, logits: Tensor | None, features: Tensor) -> Tensor:
        """Return unknown scores: pooled features (B, C) float -> (B,) float64. The logits are not used.

        The score is NaN if one of the features of the image is not finite.

        Raises:
            ValueError: If `fit` was not called, or the features have a wrong shape or dtype.
        """
        if self.centre is None:
            raise ValueError("rmd: fit it on training images first")
        check_features("rmd", features, len(self.centre))
        plain = features.detach().cpu()
        lengths, twice = self.means.square().sum(1), -2 * self.means.T
        scores = torch.empty(len(plain), dtype=torch.float64)
        for place, rows in centred_blocks(plain, self.centre, torch.float64):
            seen = rows @ self.discriminants  # (B, J)
            # |p|^2 stands in both distances: it remains with the weights 1 - 1 / (1 + v).
            scores[place] = seen.square() @ self.weights + torch.addmm(lengths, seen, twice).amin(1)
        return (scores / self.count).to(features.device, wide_dtype(features.device))
