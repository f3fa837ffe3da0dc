"""Drawing from a torch generator, for what torch itself does not offer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def device_of(generator: torch.Generator | None) -> torch.device:
    """The device that a generator draws on; the CPU for torch's global one."""
    return generator.device if generator is not None else torch.device("cpu")


def draw_beta(alpha: float, count: int, generator: torch.Generator | None) -> Tensor:
    """Draw from Beta(alpha, alpha).

    torch's Beta distribution takes no generator, and at small alpha both of the gamma variables behind it can be 0 in
    float32. NumPy's, seeded by the generator, has neither fault.

    Args:
        alpha: above 0.
        count: how many.
        generator: source of randomness; torch's global one when None.

    Returns:
        (count,) float32 on the CPU, in 0..1.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=device_of(generator)))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count)).float()
