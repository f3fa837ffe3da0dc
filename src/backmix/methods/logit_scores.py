"""The softmax score of logits, for methods and detectors, and the check of logits that all such scores use."""

from __future__ import annotations

import torch
from torch import Tensor


def has_float64(device: torch.device) -> bool:
    """Return whether a device can compute in float64. MPS can compute only up to float32."""
    return device.type != "mps"


def check_logits(logits: Tensor) -> Tensor:
    """Return logits in the precision of the scores: float64, or float32 on devices without float64.

    Args:
        logits: (B, K) logits of any float dtype, K at least 2.

    Raises:
        ValueError: If the logits have a wrong shape or dtype.
    """
    if logits.ndim != 2 or logits.shape[1] < 2 or not logits.is_floating_point():
        raise ValueError(
            "logits must be (B, K) float, one column for each of two or more known classes; "
            f"got {tuple(logits.shape)} {logits.dtype}"
        )
    return logits.to(torch.float64 if has_float64(logits.device) else torch.float32)


def msp(logits: Tensor) -> Tensor:
    """Return minus the log of the largest softmax probability: logsumexp(z) - max z, in nats, 0 or more.

    For confident networks that probability rounds to exactly 1, and images tie. Therefore this function sums the
    probabilities of the other classes and does not subtract from 1. Two images then differ until the logit of every
    other class is more than 700 below the largest.

    Args:
        logits: (B, K) float logits. The score of an image is NaN if one of its logits is NaN.

    Returns:
        (B,) float64 scores, or float32 on devices without float64.

    Raises:
        ValueError: If the logits have a wrong shape or dtype.
    """
    logits = check_logits(logits)
    top, best = logits.max(1, keepdim=True)
    others = (logits - top).exp().scatter(1, best, 0.0)
    return others.sum(1).log1p()
