"""The Mahalanobis distance to the nearest class mean, with the covariance as it is."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.detectors.base import Detector
from backmix.detectors.blocks import ROWS, TriangularMap, centred_blocks
from backmix.detectors.whitening import whitening_of
from backmix.detectors.wrapped import WRAPPED
from backmix.methods.unit_features import check_features, wide_dtype

TRIED = 1024  # The number of training images whose distances are computed in both precisions.
SINGLE = 2e-6  # The largest relative error of their distances with which float32 is used.


class Mahalanobis(Detector):
    """Half the smallest squared Mahalanobis distance to a class mean, divided by the number of training images.

    Each class has a Gaussian distribution with its own mean, and all have the same covariance (Lee et al., "A simple
    unified framework for detecting out-of-distribution samples and adversarial attacks", NeurIPS 2018, eq. 2). With S
    the covariance of the N training images within their classes, and m_k the class means:

        score = 1 / (2 N) min_k (x - m_k)^T S^-1 (x - m_k)

    The factor 1 / N is that of pytorch-ood 0.4, whose scores these are: it inverts N S, a sum that is not divided by N.
    S^-1 is a pseudo-inverse, see `Whitening`. `ShrunkMahalanobis` has a covariance for few images, and features of
    length 1.

    The features are whitened, so distances are Euclidean. `fit` computes distances of training images in float32 and in
    float64. If they agree, which they do unless the variances are very uneven, float32 is used, at half the time.

    The detector runs on the CPU.

    Attributes:
        dtype: The precision of the distances, float32 or float64.
    """

    needs_fitting = True

    def __init__(self) -> None:
        self.centre: Tensor | None = None
        self.whiten = TriangularMap(torch.empty(0, 0))
        self.means = torch.empty(0)
        self.count = 0
        self.dtype = torch.float64

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Fit the detector on known training images: logits (N, K), pooled features (N, C), labels (N,) int64.

        Of the logits, only the number K of classes is used.

        Raises:
            ValueError: If the shapes do not agree, a class has no image, a feature is not finite, or no class varies.
        """
        features, labels = features.detach().cpu(), labels.cpu().long()
        white = whitening_of("mahalanobis", logits, features, labels)
        self.centre, self.count = white.mean, len(features)
        self.whiten = TriangularMap(white.matrix)
        self.means = (white.class_means - white.mean) @ self.whiten.matrix
        tried = features[:: -(-len(features) // TRIED)]
        wide = self._squares(tried, torch.float64)
        error = (self._squares(tried, torch.float32) - wide).abs()
        self.dtype = torch.float32 if bool((error <= SINGLE * wide).all()) else torch.float64
        classes = logits.shape[1]
        self.caution = WRAPPED["mahalanobis"].caution("mahalanobis", self.count, classes, features.shape[1])

    def __call__(self, logits: Tensor | None, features: Tensor) -> Tensor:
        """Return unknown scores: pooled features (B, C) float -> (B,) float64. The logits are not used.

        The score is NaN if one of the features of the image is not finite.

        Raises:
            ValueError: If `fit` was not called, or the features have a wrong shape or dtype.
        """
        if self.centre is None:
            raise ValueError("mahalanobis: fit it on training images first")
        check_features("mahalanobis", features, len(self.centre))
        plain = features.detach().cpu()
        squares = self._squares(plain, self.dtype)
        far = ~squares.isfinite()
        if bool(far.any()) and self.dtype != torch.float64:  # Features so large that their squares are no float32.
            squares[far] = self._squares(plain[far], torch.float64)
        return (squares / (2 * self.count)).to(features.device, wide_dtype(features.device))

    def _squares(self, features: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the squared distances (B,) float64, computed in a dtype."""
        assert self.centre is not None
        lengths = self.means.square().sum(1).to(dtype)  # (K,)
        twice = (-2 * self.means.T).to(dtype)
        squares = torch.empty(len(features), dtype=torch.float64)
        space = torch.empty(min(len(features), ROWS), self.means.shape[1], dtype=dtype)
        for place, rows in centred_blocks(features, self.centre, dtype):
            white = self.whiten(rows, space)
            # |w - m|^2 is multiplied out: differences of all images and means would need B x K x C numbers.
            nearest = torch.addmm(lengths, white, twice).amin(1)
            squares[place] = torch.linalg.vector_norm(white, 2, 1).square() + nearest
        return squares.clamp(min=0)
