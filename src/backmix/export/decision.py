"""Turn unknown scores into p-values and decisions, with tensor operations that an exported file can hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from backmix.threshold.conformal import ConformalThreshold


class Decision(nn.Module):
    """A module that gives the answers of `backmix.threshold.by_class.decide`, bit for bit.

    The calibration scores are its buffers. The tolerance of the deciding threshold is subtracted from each score. For a
    NaN score, `decide` raises an error; here the image is unknown, with the smallest possible p-value.

    Args:
        num_classes: The number of known classes, K.
        overall: The threshold for all classes.
        by_class: The thresholds of the classes, if they decide; None for a class for which `overall` is used. None:
            `overall` decides for all classes.
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
        """Return p-values (B,) float64 and decisions (B,) int64, -1 for unknown.

        Args:
            scores: (B,) float64, the unknown scores.
            predicted: (B,) int64, the likeliest class of each image.
        """
        start, count = self.start[predicted], self.count[predicted]
        scores = scores - self.tolerance[predicted]
        below = predicted * 0
        # Bisection counts the lower held-out scores. A comparison with all n scores at once would take B n numbers.
        for power in reversed(range(self.halvings)):
            further = below + 2**power
            at = (start + further - 1).clamp(max=len(self.held) - 1)
            lower = ~(self.held[at] >= scores)
            below = torch.where((further <= count) & lower, further, below)
        p_values = (1 + count - below).double() / (count + 1).double()
        return p_values, torch.where(scores <= self.limit[predicted], predicted, -1)
