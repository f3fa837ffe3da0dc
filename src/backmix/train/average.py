"""The running average of a network's weights, which is the result of a training instead of the last weights."""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import torch
from torch import nn
from torch.nn.utils import parametrize


class Average:
    """The running average of a network's weights and running statistics.

    Args:
        network: The network to average. The average starts with its present weights.
        decay: The share of the old average that remains after a step. It is smaller in the first steps, see `move`.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def move(self, network: nn.Module, step: int) -> None:
        """Move the average towards the present weights. The first steps move it further than later ones."""
        decay = min(self.decay, (step + 1) / (step + 10))
        ours, theirs = self.network.state_dict(), network.state_dict()
        moving = [name for name, value in ours.items() if value.is_floating_point()]
        torch._foreach_lerp_([ours[name] for name in moving], [theirs[name] for name in moving], 1 - decay)
        for name, value in ours.items():
            if not value.is_floating_point():
                value.copy_(theirs[name])

    def put_into(self, network: nn.Module) -> None:
        """Load the averaged weights into a network."""
        network.load_state_dict(self.network.state_dict())
        _settle(network)


@torch.no_grad()
def _settle(network: nn.Module, readings: int = 30) -> None:
    """Update the spectral norms of averaged weights, and leave the modules with them in training mode.

    To read a weight in training mode makes one step of the power iteration that computes its spectral norm. The average
    of the singular vectors over a training does not fit any weights and is shorter than 1; without further steps the
    normalised weights would be too large.
    """
    for module in network.modules():
        if parametrize.is_parametrized(module):
            module.train()
            for name in cast(nn.ModuleDict, module.parametrizations):
                for _ in range(readings):
                    getattr(module, name)
