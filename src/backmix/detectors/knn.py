"""The distance to the k-th nearest training image."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.detectors.base import Detector
from backmix.detectors.nearest import NearestRows
from backmix.methods.unit_features import BLOCK, check_features, check_training, unit_rows, wide_dtype

NEIGHBOURS = 50  # The paper's k on CIFAR-10.


class KNN(Detector):
    """The Euclidean distance of an image's features to the k-th nearest of the training images', all of length 1.

    Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022, with the scores of pytorch-ood
    0.4. `CosineKNN` has the same order with the same k, and its score is -1 + d^2 / 2 for the distance d.

    The nearest are found by blocked matrix products, with 90 MiB beside the features, and their distances are exact,
    see `NearestRows`. The features are kept in float32, on the CPU.

    Args:
        k: The neighbour that counts, 1 or more; None: 50, but at most the number of images of the smallest class.
        normalize: Whether features are divided by their length. Features that are all zero stay so.

    Attributes:
        k: The neighbour that counts; None before `fit` if none was given.
        normalize: The argument.

    Raises:
        ValueError: If k is below 1.
    """

    needs_fitting = True

    def __init__(self, *, k: int | None = None, normalize: bool = True) -> None:
        if k is not None and k < 1:
            raise ValueError(f"knn: k is the neighbour that counts, 1 or more; got {k}")
        self.k = self._asked = k
        self.normalize = normalize
        self.training: NearestRows | None = None

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Keep the features of known training images: logits (N, K), pooled features (N, C), labels (N,) int64.

        Of the logits, only the number K of classes is used.

        Raises:
            ValueError: If the shapes do not agree, a class has no image, a feature is not finite, or there are fewer
                images than k.
        """
        check_training("knn", logits, features, labels)
        k = min(NEIGHBOURS, int(labels.bincount().min())) if self._asked is None else self._asked
        if k > len(features):
            raise ValueError(f"knn: k = {k} is more than the {len(features)} training images; give a smaller k")
        self.k = k
        self.training = NearestRows(self._rows(features))

    def __call__(self, logits: Tensor | None, features: Tensor) -> Tensor:
        """Return unknown scores: pooled features (B, C) float -> (B,) float64. The logits are not used.

        The score is NaN if one of the features of the image is not finite.

        Raises:
            ValueError: If `fit` was not called, or the features have a wrong shape or dtype.
        """
        if self.training is None or self.k is None:
            raise ValueError("knn: fit it on training images first")
        check_features("knn", features, self.training.kept.shape[1])
        distances = self.training.kth_distance(self._rows(features), self.k)
        return distances.to(features.device, wide_dtype(features.device))

    def _rows(self, features: Tensor) -> Tensor:
        """Return the features (N, C) float32 on the CPU, each row divided by its length if `normalize`."""
        plain = features.detach().cpu()
        if not self.normalize:
            return plain.to(torch.float32, copy=True)
        rows = torch.empty(plain.shape, dtype=torch.float32)
        for some, block in zip(rows.split(BLOCK), plain.split(BLOCK), strict=True):
            some.copy_(unit_rows(block))
        return rows
