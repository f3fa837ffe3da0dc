"""The mode of a network in training: which of its modules learn, and which compute as they do in prediction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def training_mode(network: nn.Module, *, freeze_norm: bool = False) -> None:
    """Put a network in training mode.

    Args:
        network: The network.
        freeze_norm: Whether batch norms stay in evaluation mode, see `TrainOptions.freeze_norm`. Their weights and
            biases are trained even so.
    """
    network.train()
    if freeze_norm:
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode within the block. Then every module gets back the mode that it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
