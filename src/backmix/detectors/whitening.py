"""The linear map after which the covariance within classes is the identity."""

from __future__ import annotations

import torch
from torch import Tensor

from backmix.detectors.blocks import centred_blocks
from backmix.methods.logit_scores import has_float64
from backmix.methods.unit_features import check_training


class Whitening:
    """A linear map after which the mean covariance within classes is the identity.

    The map does not change Mahalanobis distances. After it, an inverse covariance that is computed in float32 is exact
    at any scale of the features. Directions without variance are dropped, so the inverse is a pseudo-inverse. There are
    many such directions if there are fewer images than channels; pytorch-ood alone then returns negative distances.

    Args:
        features: (N, C) float features of training images.
        labels: (N,) int64 label of each image.
        least: The largest variance of a direction that counts as none, as a share of the largest variance.

    Attributes:
        mean: (C,) float64, the mean of all features.
        class_means: (K, C) float64, the mean of the features of each class.
        matrix: (C, D) float64, the map; D is the number of directions with variance.

    Raises:
        ValueError: If the features do not vary within any class.
    """

    def __init__(self, features: Tensor, labels: Tensor, *, least: float = 1e-6) -> None:
        channels = features.shape[1]
        counts = labels.bincount().double()[:, None]
        sums = torch.zeros(len(counts), channels, dtype=torch.float64)
        for place, rows in centred_blocks(features, torch.zeros(channels).double(), torch.float64):
            sums.index_add_(0, labels[place], rows)
        self.mean = sums.sum(0) / len(features)
        self.class_means = sums / counts
        scatter = torch.zeros(channels, channels, dtype=torch.float64)
        offsets = self.class_means - self.mean
        for place, rows in centred_blocks(features, self.mean, torch.float64):
            rows -= offsets[labels[place]]
            scatter.addmm_(rows.T, rows)
        variances, directions = torch.linalg.eigh(scatter / len(features))
        kept = variances > (least * variances.max()).clamp(min=torch.finfo(torch.float64).tiny)
        if not bool(kept.any()):
            raise ValueError("the features of no class vary: it takes classes of several different training images")
        self.matrix: Tensor = directions[:, kept] / variances[kept].sqrt()

    def __call__(self, features: Tensor) -> Tensor:
        """Map features (B, C) float32 -> (B, C or fewer) float32, on the device of the features, with gradient."""
        # A device without float64 leaves this to the CPU, because float32 would lose the precision that the map saves.
        wide = (features if has_float64(features.device) else features.cpu()).double()
        white: Tensor = (wide - self.mean.to(wide.device)) @ self.matrix.to(wide.device)
        return white.to(features)


def whitening_of(name: str, logits: Tensor, features: Tensor, labels: Tensor) -> Whitening:
    """Return the whitening of known training images: logits (N, K), features (N, C), labels (N,), all on the CPU.

    Args:
        name: The name of the detector, with which errors begin.
        logits: The logits, of which only K counts.
        features: The pooled features.
        labels: The labels.

    Raises:
        ValueError: If the shapes do not agree, a class has no image, a feature is not finite, or no class varies.
    """
    check_training(name, logits, features, labels)
    try:
        return Whitening(features, labels)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
