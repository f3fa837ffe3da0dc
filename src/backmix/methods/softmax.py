"""Softmax cross-entropy on globally averaged features: the plain classifier that other methods are compared to."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from backmix.methods.base import Method
from backmix.methods.pooling import pooled_linear
from backmix.mixing.cam import class_activation_map


class Softmax(Method):
    """A classifier with global average pooling, a linear head and cross-entropy.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        label_smoothing: The smoothing e, 0..(K - 1) / K. The target of the label is 1 - e, and that of each other class
            is e / (K - 1), as in Vaze et al., "Open-set recognition: a good closed-set classifier is all you need",
            ICLR 2022. (torch's argument of the same name spreads e over all K classes, including the label.)
        bias: Whether the head has a bias.

    Raises:
        ValueError: If there are fewer than two classes, or the smoothing is outside its range.
    """

    name: ClassVar[str] = "softmax"
    on_pooled_features: ClassVar[bool] = True

    def __init__(self, num_features: int, num_classes: int, *, label_smoothing: float = 0.0, bias: bool = True) -> None:
        super().__init__(num_features, num_classes)
        if not 0 <= label_smoothing <= (num_classes - 1) / num_classes:
            raise ValueError(
                f"label_smoothing lies in 0..{(num_classes - 1) / num_classes:.3g} with {num_classes} classes, "
                f"where all targets are equal; got {label_smoothing}"
            )
        self.label_smoothing = label_smoothing
        self.head = nn.Linear(num_features, num_classes, bias=bias)

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy: features (B, C, h, w), labels (B,) int64 -> scalar."""
        self.check(features, labels)
        smoothing = min(1.0, self.label_smoothing * self.num_classes / (self.num_classes - 1))
        return F.cross_entropy(self.logits(features), labels, label_smoothing=smoothing)

    def logits(self, features: Tensor) -> Tensor:
        """Return the class logits: features (B, C, h, w) -> (B, K) float32."""
        return pooled_linear(self.head, features)

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return minus the largest logit (Vaze et al., 2022): (B, C, h, w) -> (B,) float32, higher = more unknown."""
        return -self.logits(features).amax(1)

    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the class activation map of the labels: (B, C, h, w), (B,) -> (B, h, w) in 0..1, without gradient."""
        self.check(features, labels)
        return class_activation_map(features, self.head.weight, labels)
