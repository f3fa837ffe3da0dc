"""What every detector offers, and the check that those on logits share."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Detector(Protocol):
    """A post-hoc unknown score on a trained network: `fit` on training images where it needs to, then call."""

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Learn from known training images: logits (N, K), pooled features (N, C), labels (N,) int64."""

    def __call__(self, logits: Tensor, features: Tensor) -> Tensor:
        """Unknown scores (B,), higher = more unknown, of logits (B, K) and pooled features (B, C)."""


def check_logits(logits: Tensor) -> Tensor:
    """Logits in the precision scores are computed in: float64, or float32 on MPS, which has nothing wider.

    Args:
        logits: (B, K) float of any dtype, K at least 2.

    Raises:
        ValueError: for another shape or dtype.
    """
    if logits.ndim != 2 or logits.shape[1] < 2 or not logits.is_floating_point():
        raise ValueError(
            "logits must be (B, K) float, one column for each of two or more known classes; "
            f"got {tuple(logits.shape)} {logits.dtype}"
        )
    return logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)
