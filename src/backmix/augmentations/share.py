"""The part of a batch that belongs to this process, if several processes train one network."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ProcessPart:
    """One of `world` equal parts of a batch, in the order of the processes.

    All processes draw the same numbers for the whole batch, and each process keeps its own part. So the random choices
    for an image do not depend on the number of processes.

    Args:
        rank: The number of this process, 0..world - 1.
        world: The number of processes.
    """

    rank: int = 0
    world: int = 1

    def whole(self, count: int) -> int:
        """Return the size of the whole batch if this process holds `count` images."""
        return count * self.world

    def own(self, whole: Tensor, dim: int = 0) -> Tensor:
        """Return the part of this process of a tensor that holds the whole batch along `dim`, as a view.

        If the length is not a multiple of `world`, the parts are as equal as possible.
        """
        return whole if self.world == 1 else whole.tensor_split(self.world, dim)[self.rank]


ALL = ProcessPart()
"""The whole batch, for a single process."""
