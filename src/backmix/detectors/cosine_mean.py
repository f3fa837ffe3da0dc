"""The cosine to the nearest class mean."""

from __future__ import annotations

from torch import Tensor

from backmix.detectors.base import Detector
from backmix.methods.unit_features import check_features, check_training, unit_class_means, unit_rows


class CosineMean(Detector):
    """Minus the largest cosine between the features of an image and a class mean, from -1 to 1.

    Features are divided by their length, a class mean is the mean of the divided features of its training images, and
    it is divided by its length again: the nearest class mean (Mensink et al., "Distance-based image classification",
    TPAMI 2013) for directions, as prototypes are compared by Snell et al., "Prototypical networks", NeurIPS 2017, and
    by cosine in Gidaris and Komodakis, CVPR 2018. The cosine of features that are all zero is 0.

    Attributes:
        means: (K, C) float64, the class means of length 1; None before `fit`.
    """

    needs_fitting = True

    def __init__(self) -> None:
        self.means: Tensor | None = None

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Fit the detector on known training images: logits (N, K), pooled features (N, C), labels (N,) int64.

        Of the logits, only the number K of classes is used.

        Raises:
            ValueError: If the shapes do not agree, a class has no image, or a feature is not finite.
        """
        check_training("cosine_mean", logits, features, labels)
        self.means = unit_rows(unit_class_means(features, labels, logits.shape[1]))

    def __call__(self, logits: Tensor | None, features: Tensor) -> Tensor:
        """Return unknown scores: pooled features (B, C) float -> (B,) float64. The logits are not used.

        The score is NaN if one of the features of the image is not finite.

        Raises:
            ValueError: If `fit` was not called, or the features have a wrong shape or dtype.
        """
        if self.means is None:
            raise ValueError("cosine_mean: fit it on training images first")
        check_features("cosine_mean", features, self.means.shape[1])
        rows = unit_rows(features)
        return -(rows @ self.means.to(rows).T).amax(1)
