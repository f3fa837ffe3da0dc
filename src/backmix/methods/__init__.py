"""Training objectives, each with its logits, its unknown score and its evidence map.

A method is a module made from (num_features, num_classes, **options) with the calls of `Method`. To add one, write
its file and name it in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from backmix.methods.softmax import Softmax


class Method(Protocol):
    """What the training loop and the classifier ask of a method. Features are (B, C, h, w) before pooling."""

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Scalar to minimise."""

    def logits(self, features: Tensor) -> Tensor:
        """Class logits (B, K)."""

    def unknown_score(self, features: Tensor) -> Tensor:
        """Scores (B,), higher = more unknown."""

    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Evidence for the labels (B, h, w) in 0..1, without gradient."""


METHODS: dict[str, Callable[..., Softmax]] = {"softmax": Softmax}

__all__ = ["METHODS", "Method", "Softmax"]
