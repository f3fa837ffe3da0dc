"""Two sets of batch-norm statistics and weights in one network, for images of two distributions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import cast

from torch import Tensor, nn


class DualBatchNorm2d(nn.Module):
    """Two batch norms, of which one is used at a time (Xie et al., CVPR 2020, "auxiliary batch norm").

    Evaluation always uses branch 0.

    Args:
        norm: The batch norm that becomes branch 0. Branch 1 starts as its copy.

    Attributes:
        branch: The branch that training uses, 0 or 1. `use_branch` sets it; it is not saved with the weights.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.branches = nn.ModuleList([norm, deepcopy(norm)])
        self.branch = 0
        self.training = norm.training

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (B, C, h, w) with the branch in use."""
        return cast(Tensor, self.branches[self.branch if self.training else 0](features))

    def extra_repr(self) -> str:
        """Return the branch in use, for `print`."""
        return f"branch={self.branch}"


def add_second_batch_norm(network: nn.Module) -> int:
    """Replace every BatchNorm2d of a network with a `DualBatchNorm2d`, and keep each `DualBatchNorm2d` it already has.

    A network without batch norm, such as a transformer, does not change.

    Returns:
        The number of `DualBatchNorm2d` that the network now has.

    Raises:
        ValueError: If the network itself is a BatchNorm2d, which cannot be replaced inside itself.
    """
    if isinstance(network, nn.BatchNorm2d):
        raise ValueError("the network is a single BatchNorm2d: make it a DualBatchNorm2d, or give the module around it")
    dual: dict[nn.BatchNorm2d, DualBatchNorm2d] = {}
    done = {part for module in network.modules() if isinstance(module, DualBatchNorm2d) for part in module.modules()}
    for parent in list(network.modules()):
        if parent in done:
            continue
        # One norm may occur at several places, also twice in one parent.
        for name, child in list(parent._modules.items()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, dual.setdefault(child, DualBatchNorm2d(child)))
    return sum(isinstance(module, DualBatchNorm2d) for module in network.modules())


@contextmanager
def use_branch(network: nn.Module, branch: int) -> Iterator[None]:
    """Let every `DualBatchNorm2d` of a network use this branch until the block ends. The network may have none.

    Raises:
        ValueError: If the branch is not 0 or 1.
    """
    if branch not in (0, 1):
        raise ValueError(f"a DualBatchNorm2d has the branches 0 and 1; got {branch}")
    norms = [module for module in network.modules() if isinstance(module, DualBatchNorm2d)]
    before = [norm.branch for norm in norms]
    for norm in norms:
        norm.branch = branch
    try:
        yield
    finally:
        for norm, earlier in zip(norms, before, strict=True):
            norm.branch = earlier
