"""The cosine to the k-th most similar training image."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.detectors.base import Detector
from backmix.methods.unit_features import BLOCK, check_features, check_training, unit_blocks, unit_rows, wide_dtype

NEIGHBOURS = 1024  # The number of training images that are compared at the same time.


class CosineKNN(Detector):
    """Minus the k-th largest cosine between the features of an image and those of the training images, from -1 to 1.

    For features of length 1, the squared Euclidean distance is 2 - 2 cos, so the order is that of Sun et al.,
    "Out-of-distribution detection with deep nearest neighbors", ICML 2022. The paper takes k = 50 on 50,000 images;
    with few images of each class the nearest image is the safe choice. The cosine of features that are all zero is 0.

    The training images are compared in blocks, so that scoring B images needs memory for B x 1024 cosines. The cosines
    are computed in float32, whose steps near 1 are 6e-8; float64 would take twice the memory and time.

    Args:
        k: The neighbour that counts, 1 or more. With fewer than k training images, the farthest of them counts.

    Attributes:
        training: (N, C) float32, the training features of length 1; None before `fit`.

    Raises:
        ValueError: If k is below 1.
    """

    needs_fitting = True

    def __init__(self, *, k: int = 1) -> None:
        if k < 1:
            raise ValueError(f"cosine_knn: k is the neighbour that counts, 1 or more; got {k}")
        self.k = k
        self.training: Tensor | None = None

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Keep the features of known training images: logits (N, K), pooled features (N, C), labels (N,) int64.

        The logits and labels are only checked.

        Raises:
            ValueError: If the shapes do not agree, a class has no image, or a feature is not finite.
        """
        check_training("cosine_knn", logits, features, labels)
        training = torch.empty(features.shape, dtype=torch.float32, device=features.device)
        for kept, (rows, _) in zip(training.split(BLOCK), unit_blocks(features, labels), strict=True):
            kept.copy_(rows)
        self.training = training

    def __call__(self, logits: Tensor | None, features: Tensor) -> Tensor:
        """Return unknown scores: pooled features (B, C) float -> (B,) float64. The logits are not used.

        The score is NaN if one of the features of the image is not finite.

        Raises:
            ValueError: If `fit` was not called, or the features have a wrong shape or dtype.
        """
        if self.training is None:
            raise ValueError("cosine_knn: fit it on training images first")
        check_features("cosine_knn", features, self.training.shape[1])
        if self.training.device != features.device:
            self.training = self.training.to(features.device)  # Once, because there can be 100 MB of them.
        rows = unit_rows(features).float()
        k = min(self.k, len(self.training))
        nearest: Tensor | None = None  # (B, k or fewer), the largest cosines so far.
        for block in self.training.split(NEIGHBOURS):
            largest = _largest(rows @ block.T, k)
            nearest = largest if nearest is None else _largest(torch.cat([nearest, largest], 1), k)
        assert nearest is not None
        return -nearest[:, -1].to(wide_dtype(features.device))


def _largest(cosines: Tensor, k: int) -> Tensor:
    """Return the k largest cosines of each row, or all if there are fewer, the largest first."""
    if k == 1:
        return cosines.amax(1, keepdim=True)  # This is several times as quick as topk.
    return cosines.topk(min(k, cosines.shape[1]), 1).values
