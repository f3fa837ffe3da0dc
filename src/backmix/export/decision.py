"""From unknown scores to p-values and decisions in tensor operations that a file can hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from backmix.threshold.conformal import ConformalThreshold


class Decision(nn.Module):
    """The answers of `backmix.threshold.by_class.decide`, bit for bit, with the calibration scores as buffers.

    Each score is looked at less the tolerance of the threshold that decides. A NaN score, for which `decide` raises, is
    unknown here, with the smallest p-value there is.

    Args:
        num_classes: known classes K.
        overall: the threshold for all classes.
        by_class: one for each class where those decide, None where `overall` stands in; None: `overall` decides.
    """

    held: Tensor
    start: Tensor
    count: Tensor
    limit: Tensor
    tolerance: Tensor

    def __init__(
        self,
        num_classes: int,
        overall: ConformalThreshold,
        by_class: Sequence[ConformalThreshold | None] | None = None,
    ) -> None:
        super().__init__()
        own = list(by_class) if by_class is not None else [None] * num_classes
        if len(own) != num_classes:
            raise ValueError(f"there is one threshold a class; got {len(own)} for {num_classes} classes")
        parts, start = [overall.scores], []
        for threshold in own:
            start.append(0 if threshold is None else sum(map(len, parts)))
            parts += [] if threshold is None else [threshold.scores]
        deciding = [threshold or overall for threshold in own]
        self.register_buffer("held", torch.cat(parts))
        self.register_buffer("start", torch.tensor(start))
        self.register_buffer("count", torch.tensor([len(threshold.scores) for threshold in deciding]))
        limits = [threshold.threshold for threshold in deciding]
        self.register_buffer("limit", torch.tensor(limits, dtype=torch.float64))
        tolerances = [threshold.tolerance for threshold in deciding]
        self.register_buffer("tolerance", torch.tensor(tolerances, dtype=torch.float64))
        self.halvings = int(self.count.max()).bit_length()

    def forward(self, scores: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """p-values (B,) float64 and decisions (B,) int64, -1 for unknown.

        Args:
            scores: (B,) float64 unknown scores.
            predicted: (B,) int64 likeliest class of each.
        """
        start, count = self.start[predicted], self.count[predicted]
        scores = scores - self.tolerance[predicted]
        below = predicted * 0
        # How many held-out scores are lower, by bisection: to compare with all of them at once would take B n numbers.
        for power in reversed(range(self.halvings)):
            further = below + 2**power
            at = (start + further - 1).clamp(max=len(self.held) - 1)
            lower = ~(self.held[at] >= scores)
            below = torch.where((further <= count) & lower, further, below)
        p_values = (1 + count - below).double() / (count + 1).double()
        return p_values, torch.where(scores <= self.limit[predicted], predicted, -1)
