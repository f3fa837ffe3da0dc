"""The covariance within classes that few images can carry, and the map that turns its distances into Euclidean ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backmix.methods.unit_features import unit_blocks, unit_rows

PANEL = 256  # Of S, panels of so many rows are computed from the diagonal on, because S is symmetric.

LEAST = 1e-12  # The smallest mean squared deviation from the class means that counts, for features of length 1.


@dataclass(frozen=True)
class Whitening:
    """A linear map W with W W^T = covariance^-1 of rows: rows (B, C) -> rows W (B, C).

    Attributes:
        inner: (C, C), the whole map W, if `outer` is None. Otherwise (C, N), an orthonormal basis Q of the directions
            in which the training images deviate from their class means.
        outer: (N, C), the matrix B with W = scale I + Q B.
        scale: The map of the directions in which no training image deviates; 0 if `outer` is None.
    """

    inner: Tensor
    outer: Tensor | None = None
    scale: float = 0.0

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the rows (B, C) after the map, in their precision and on their device."""
        inner = rows @ self.inner.to(rows)
        return inner if self.outer is None else self.scale * rows + inner @ self.outer.to(rows)

    def matrix(self) -> Tensor:
        """Return the whole map W (C, C)."""
        if self.outer is None:
            return self.inner
        whole = self.inner @ self.outer
        whole.diagonal().add_(self.scale)
        return whole


def shrunk_whitening(features: Tensor, labels: Tensor, means: Tensor) -> tuple[Whitening, float]:
    """Return the map with the inverse of the shrunk covariance, and the number s, see the detector `ShrunkMahalanobis`.

    Args:
        features: (N, C) float pooled features of any length.
        labels: (N,) int64 labels.
        means: (K, C) float64, the means of the features of length 1 of each class.
    """
    if 2 * len(features) <= features.shape[1]:  # With more images, the C x C matrix is quicker, also to score with.
        return _thin(unit_rows(features) - means[labels], len(means))
    covariance, share = shrunk_covariance(features, labels, means)
    # The inverse of the factor is taken once, so that scoring is a product, which every export format has.
    return Whitening(_inverse_factor(covariance)), share


def _thin(deviations: Tensor, classes: int) -> tuple[Whitening, float]:
    """Return what `shrunk_whitening` returns, from the deviations (N, C) of fewer images than channels.

    S then has at most N directions Q (C, N), orthonormal, in which it is not zero: covariance = Q M Q^T + a (I - Q Q^T)
    with a = s m. With M = L L^T, the map W = Q L^-T Q^T + (I - Q Q^T) / sqrt(a) has W W^T = covariance^-1. No C x C
    matrix is made. Subtracting |Q^T z|^2 from |z|^2 would be as quick, but rounding would then cost more digits.
    """
    count, channels = deviations.shape
    inner = deviations @ deviations.T / count  # (N, N), with the same numbers on its spectrum as S.
    trace = inner.trace()
    if not bool(trace > LEAST):
        return Whitening(channels**0.5 * torch.eye(channels).to(deviations)), 1.0
    middle = trace / channels
    square = inner.square().sum()
    share = _share(square - channels * middle**2, square, inner.diagonal().square().sum(), count, classes)
    basis, triangle = torch.linalg.qr(deviations.T)  # (C, N), (N, N)
    seen = (1 - share) / count * triangle @ triangle.T
    seen.diagonal().add_(share * middle)
    scale = float((share * middle).rsqrt())
    outer = _inverse_factor(seen)
    outer.diagonal().sub_(scale)
    return Whitening(basis, outer @ basis.T, scale), share


def _inverse_factor(matrix: Tensor) -> Tensor:
    """Return a matrix W with W W^T = matrix^-1, of a positive definite matrix."""
    factor = torch.linalg.cholesky(matrix)
    inverse: Tensor = torch.linalg.solve_triangular(factor, torch.eye(len(matrix)).to(matrix), upper=False)
    return inverse.T.contiguous()


def _share(spread: Tensor, square: Tensor, fourth: Tensor, count: int, classes: int) -> float:
    """Return the number s of the detector `ShrunkMahalanobis`.

    Args:
        spread: |S - m I|^2.
        square: |S|^2.
        fourth: 1/N^2 sum_i |r_i|^4.
        count: The number N of images.
        classes: The number K of classes.
    """
    share = float((fourth - square / count) / spread) if bool(spread > 0) else 1.0
    return min(1.0, max(share, 1 / (max(count - classes, 0) + 1)))


def shrunk_covariance(features: Tensor, labels: Tensor, means: Tensor) -> tuple[Tensor, float]:
    """Return the covariance (C, C) within the classes after shrinking, and the number s.

    The formulas stand at the detector `ShrunkMahalanobis`.

    Args:
        features: (N, C) float pooled features of any length.
        labels: (N,) int64 labels.
        means: (K, C) float64, the means of the features of length 1 of each class.
    """
    count, channels = features.shape
    sums, fourth = means.new_zeros(channels, channels), means.new_zeros(())
    for rows, own in unit_blocks(features, labels):
        deviations = rows - means[own]
        for at in range(0, channels, PANEL):
            sums[at : at + PANEL, at:] += deviations[:, at : at + PANEL].T @ deviations[:, at:]
        fourth += deviations.square().sum(1).square().sum()
    covariance = (sums.triu() + sums.triu(1).T) / count
    if not bool(covariance.trace() > LEAST):
        return torch.eye(channels).to(means) / channels, 1.0
    middle = covariance.trace() / channels
    off = covariance.clone()
    off.diagonal().sub_(middle)
    share = _share(off.square().sum(), covariance.square().sum(), fourth / count**2, count, len(means))
    covariance.mul_(1 - share).diagonal().add_(share * middle)
    return covariance, share
