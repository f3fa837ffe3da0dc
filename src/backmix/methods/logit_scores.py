"""The softmax score of logits, for methods and for detectors, and the check that all scores on logits share."""

from __future__ import annotations

import torch
from torch import Tensor


def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64; MPS has nothing wider than float32."""
    return device.type != "mps"


def check_logits(logits: Tensor) -> Tensor:
    """Logits in the precision scores are computed in: float64, or float32 where there is nothing wider.

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
    return logits.to(torch.float64 if has_float64(logits.device) else torch.float32)


def msp(logits: Tensor) -> Tensor:
    """Minus the log of the largest softmax probability: logsumexp(z) - max z, in nats, 0 or more.

    That probability rounds to exactly 1 for confident networks, whose images then tie. Here the probability of the
    other classes is summed up instead of taken from 1, so two images differ until every other class is more than 700
    below the first.

    Args:
        logits: (B, K) float. A NaN among an image's logits makes its score NaN.

    Returns:
        (B,) float64, or float32 where there is nothing wider.

    Raises:
        ValueError: when the logits have another shape or dtype.
    """
    logits = check_logits(logits)
    top, best = logits.max(1, keepdim=True)
    others = (logits - top).exp().scatter(1, best, 0.0)
    return others.sum(1).log1p()
