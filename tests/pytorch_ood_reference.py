"""pytorch-ood in float64, which it is not by itself: tensors that it makes have the default dtype, or are `float()`."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def in_float64(monkeypatch) -> Iterator[None]:
    """Within the block, tensors made without a dtype are float64, and so is `x.float()`."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


def clusters(count=300, classes=5, channels=16, seed=0, spread=0.5, uneven=0.0):
    """Features of class clusters; `uneven` is the decimal logarithm of the ratio of the largest and least deviation."""
    random = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(classes, channels, generator=torch.Generator().manual_seed(7))
    labels = torch.arange(count) % classes
    scales = 10 ** (-uneven * torch.arange(channels) / max(1, channels - 1))
    noise = torch.randn(count, channels, generator=random) * scales
    return centres[labels] + spread * noise, labels
