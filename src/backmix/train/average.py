"""The running average of a network's weights, which a training ends with instead of the last ones."""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import torch
from torch import nn
from torch.nn.utils import parametrize


class Average:
    """Averaged weights of a network, and its running statistics with them.

    Args:
        network: what is averaged; its present weights are where the average starts.
        decay: share of the average that is left after a step, once many steps have been made.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def move(self, network: nn.Module, step: int) -> None:
        """Move the average towards the present weights; the first steps move it further."""
        decay = min(self.decay, (step + 1) / (step + 10))
        ours, theirs = self.network.state_dict(), network.state_dict()
        moving = [name for name, value in ours.items() if value.is_floating_point()]
        torch._foreach_lerp_([ours[name] for name in moving], [theirs[name] for name in moving], 1 - decay)
        for name, value in ours.items():
            if not value.is_floating_point():
                value.copy_(theirs[name])

    def put_into(self, network: nn.Module) -> None:
        """Give a network the averaged weights."""
        network.load_state_dict(self.network.state_dict())
        _settle(network)


@torch.no_grad()
def _settle(network: nn.Module, readings: int = 30) -> None:
    """Let parametrized weights catch up with averaged ones, and leave their modules in training mode.

    Reading a weight in training mode is one step of the power iteration behind a spectral norm. The mean of singular
    vectors over a training belongs to no weights and is shorter than 1, so that norms would come out too large.
    """
    for module in network.modules():
        if parametrize.is_parametrized(module):
            module.train()
            for name in cast(nn.ModuleDict, module.parametrizations):
                for _ in range(readings):
                    getattr(module, name)
