"""Which part of a batch belongs to this process, where several train one network."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Share:
    """One of `world` equal parts of a batch, in the order of the processes.

    All processes draw the same numbers, for the whole batch, and each keeps its own part. So what chance decides of an
    image does not depend on how many processes there are.

    Args:
        rank: number of this process, 0..world - 1.
        world: number of processes.
    """

    rank: int = 0
    world: int = 1

    def whole(self, count: int) -> int:
        """Size of the whole batch, of which this process holds `count` images."""
        return count * self.world

    def own(self, whole: Tensor, dim: int = 0) -> Tensor:
        """The part of this process of something that the whole batch has along `dim`; a view of it.

        Parts are as equal as can be where the length is no multiple of `world`.
        """
        return whole if self.world == 1 else whole.tensor_split(self.world, dim)[self.rank]


ALL = Share()
"""The whole batch, as one process alone has it."""
