"""Nearest class mean: the direction of the features is compared with the mean direction of each class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor

from backmix.methods.base import Method
from backmix.methods.unit_features import pooled_training, unit_class_means, unit_rows
from backmix.mixing.cam import class_activation_map
from backmix.mixing.checks import check

LARGEST = 100.0  # The largest scale. CLIP (Radford et al., ICML 2021) has the same limit.
USUAL = 1 / 0.07  # The scale if no image can be left out: the one that CLIP begins with.
HALVINGS = 50  # Of the interval in which the scale is searched; the last one is below the steps of float32.


class NearestMean(Method):
    """The cosine to the nearest class mean, computed from the training images without gradient steps.

    m_k is the mean of the pooled features of length 1 of class k, divided by its own length (Mensink et al.,
    "Distance-based image classification", TPAMI 2013, for directions, as Gidaris and Komodakis, CVPR 2018). The logits
    are scale * cos(f, m_k), and the unknown score is minus the largest cosine, from -1 to 1.

    The scale gives the probabilities a meaning. It is the one under which the training images are most likely, if each
    is left out of the mean of its own class: the maximum of sum_i log softmax(scale * cos(f_i, m_k without i))_{y_i}
    for scales from 0 to 100. This function of the scale is concave, so the maximum is found by halving. Images that
    are alone in their class cannot be left out and do not count; if there are no others, the scale is 1 / 0.07. Copies
    of an image stay in the mean, and the scale is then too large.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        temperature: The number 1 / scale, above 0; None: it is learned as above.

    Attributes:
        means: (K, C) float32, the class means of length 1; 0 before `learn`.
        scale: Scalar, the factor of the cosines.

    Raises:
        ValueError: If there are fewer than two classes, or the temperature is not above 0.
    """

    name: ClassVar[str] = "nearest-mean"
    needs_statistics: ClassVar[bool] = True
    on_pooled_features: ClassVar[bool] = True
    learns_at_once: ClassVar[bool] = True

    means: Tensor
    scale: Tensor

    def __init__(self, num_features: int, num_classes: int, *, temperature: float | None = None) -> None:
        super().__init__(num_features, num_classes)
        check(temperature is None or temperature > 0, f"{self.name}: temperature is above 0; got {temperature}")
        self.temperature = temperature
        self.register_buffer("means", torch.zeros(num_classes, num_features))
        self.register_buffer("scale", torch.tensor(USUAL if temperature is None else 1 / temperature))

    def logits(self, features: Tensor) -> Tensor:
        """Return the scaled cosines to the class means: features (B, C, h, w) -> (B, K) float32."""
        return self._cosines(features) * self.scale

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return minus the largest cosine: (B, C, h, w) -> (B,) float32 in -1..1, higher = more unknown."""
        return -self._cosines(features).amax(1)

    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the evidence for the label, compared with other classes, at each cell, without gradient.

        The shapes are (B, C, h, w), (B,) -> (B, h, w) in 0..1. The map is `f(u).(m_y - mean_k m_k)`, cut off below 0
        and scaled: up to the length of the pooled features, which is the same for all cells, it is the part of the cell
        in the cosine of the label minus the mean of all cosines.
        """
        self.check(features, labels)
        return class_activation_map(features, self.means - self.means.mean(0), labels)

    @torch.no_grad()
    def learn(self, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Compute the class means and the scale in one pass over the training images.

        Raises:
            ValueError: If a class has no training image, or a feature is not finite.
        """
        features, labels = pooled_training(self.name, batches, self.num_classes, self.num_features)
        means = unit_class_means(features, labels, self.num_classes)
        if self.temperature is None:
            self.scale.fill_(likely_scale(left_out_cosines(features, labels, means), labels))
        self.means.copy_(unit_rows(means))

    def _cosines(self, features: Tensor) -> Tensor:
        """Return the cosines to the class means: features (B, C, h, w) -> (B, K) float32."""
        self.check_features(features)
        rows = unit_rows(features.float().mean((2, 3)))
        return (rows @ self.means.to(rows).T).float()


def left_out_cosines(features: Tensor, labels: Tensor, means: Tensor) -> Tensor:
    """Return the cosines of training images to the class means, each image left out of the mean of its own class.

    Args:
        features: (N, C) float pooled features.
        labels: (N,) int64 labels.
        means: (K, C) float64, the means of the features of length 1 of each class.

    Returns:
        (N, K) float64 cosines. The one to its own class of an image that is alone there is NaN.
    """
    counts = labels.bincount(minlength=len(means))[:, None].to(means)
    others = unit_rows(means).T
    cosines = []
    for rows, own in zip(features.split(1024), labels.split(1024), strict=True):
        unit = unit_rows(rows)
        # The sum of the others has the direction of their mean.
        rest = unit_rows(means[own] * counts[own] - unit)
        own_cosine = (unit * rest).sum(1, keepdim=True).where(counts[own] > 1, torch.nan)
        cosines.append((unit @ others).scatter(1, own[:, None], own_cosine))
    return torch.cat(cosines)


def likely_scale(cosines: Tensor, labels: Tensor) -> float:
    """Return the scale from 0 to `LARGEST` under which softmax(scale * cosines) makes the labels most likely.

    Args:
        cosines: (N, K) float64 cosines. Rows with NaN do not count; without others the scale is `USUAL`.
        labels: (N,) int64 labels.
    """
    counted = cosines.isfinite().all(1)
    cosines, labels = cosines[counted], labels[counted]
    if not len(labels):
        return USUAL
    own = cosines.gather(1, labels[:, None])[:, 0]
    low, high = 0.0, LARGEST
    for _ in range(HALVINGS):
        scale = (low + high) / 2
        # The derivative of the log likelihood, which falls with the scale.
        slope = (own - ((scale * cosines).softmax(1) * cosines).sum(1)).sum()
        low, high = (scale, high) if bool(slope > 0) else (low, scale)
    return (low + high) / 2
