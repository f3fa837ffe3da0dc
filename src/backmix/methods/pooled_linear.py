"""Average a feature map and apply a linear layer, as most methods do, without half precision in between."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pooled_linear(layer: nn.Linear, features: Tensor) -> Tensor:
    """The layer on the mean over cells, in float32 also under autocast: (B, C, h, w) in any float dtype -> (B, K).

    In bf16 a logit near 10 has steps of 1/16: more than what tells one image from another.
    """
    pooled = features.mean((2, 3), dtype=torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        bias = None if layer.bias is None else layer.bias.float()
        return F.linear(pooled, layer.weight.float(), bias)
