"""What share of known images has a score as high as a given one, without ties beyond the highest of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TAIL = 10  # The share of the scores that fit a tail is one in `TAIL`, and their number is `TAIL` or more.


@dataclass(frozen=True)
class ReferenceScores:
    """The unknown scores of N known images that a detector was not fitted on, sorted as r_1 <= ... <= r_N.

    `log_p` turns a score s into the log of a smooth p-value. The plain one, (#{r_i >= s} + 1) / (N + 1), has steps, and
    is the same for all scores above r_N. The smooth one is equal to it just above each r_i, and is linear in s between
    neighbours:

        p(r_i) = (N - i + 1) / (N + 1)
        p(s)   = exp(-(s - r_N) / high) / (N + 1)          for s above r_N
        p(s)   = 1 - exp(-(r_1 - s) / low) / (N + 1)       for s below r_1

    So p never rises with s. Where several r_i are equal, it falls at once by all of them. An exponential tail is what
    the excess over a high threshold of most distributions with light tails comes close to (Pickands, "Statistical
    inference using extreme order statistics", Annals of Statistics 1975, shape 0). Its scale is the mean excess of
    the highest N / 10 scores, or 10 scores if these are more, over the next lower one; `low` is that of the lowest.

    Attributes:
        scores: (N,) float sorted scores.
        high: The scale of the upper tail, above 0, in units of the scores.
        low: The scale of the lower tail, above 0.
    """

    scores: Tensor
    high: float
    low: float

    @classmethod
    def of(cls, scores: Tensor) -> ReferenceScores:
        """Sort scores (N,) float, N at least 1, and fit the tails.

        Raises:
            ValueError: If there is no score, or one is not finite.
        """
        if scores.ndim != 1 or not len(scores) or not scores.is_floating_point():
            raise ValueError(
                f"reference scores must be (N,) float, of one known image or more; got {tuple(scores.shape)} "
                f"{scores.dtype}"
            )
        broken = int((~scores.isfinite()).sum())
        if broken:
            raise ValueError(f"{broken} of {len(scores)} reference scores are not finite")
        ordered = scores.detach().sort().values
        return cls(ordered, _tail(ordered), _tail(-ordered.flip(0)))

    def log_p(self, scores: Tensor) -> Tensor:
        """Return the log of the p-values, 0 or less: scores (B,) float -> (B,) in the wider of the two dtypes.

        A score of NaN gives NaN.
        """
        scores = scores.to(torch.promote_types(scores.dtype, self.scores.dtype))
        held, count = self.scores.to(scores), len(self.scores)
        below = _count_up_to(held, scores)
        lower, upper = held[(below - 1).clamp(min=0)], held[below.clamp(max=count - 1)]
        between = (scores - lower) / torch.where(upper > lower, upper - lower, 1)
        # `rank` is p (N + 1). Beyond the ends, `between` would not be from 0 to 1, and is not used.
        rank = count - below + 1 - between
        rank = torch.where(below == count, 1, rank)
        rank = torch.where(below == 0, count + 1 - torch.exp((scores - held[0]) / self.low), rank)
        beyond = torch.where(below == count, (scores - held[-1]) / self.high, 0)
        return (rank / (count + 1)).log() - beyond


def _count_up_to(held: Tensor, scores: Tensor) -> Tensor:
    """Return how many of the sorted numbers (N,) are at most each score (B,) -> (B,) int64, by bisection.

    ONNX has no `searchsorted`, and comparing everything with everything would take B x N values.
    """
    count = len(held)
    below = torch.zeros_like(scores, dtype=torch.int64)
    for power in reversed(range(count.bit_length())):
        further = below + 2**power
        reached = (further <= count) & (held[(further - 1).clamp(max=count - 1)] <= scores)
        below = torch.where(reached, further, below)
    return below


def _tail(ordered: Tensor) -> float:
    """Return the mean excess of the highest of sorted scores; if they are equal, the range; if that is 0 too, 1."""
    wide = ordered.double() if ordered.device.type != "mps" else ordered
    number = min(len(wide) - 1, max(TAIL, len(wide) // TAIL))
    top = wide[len(wide) - number :]
    excess = float((top - wide[-1 - number]).mean()) if number else 0.0
    # Differences below the rounding of the scores tell nothing.
    least = torch.finfo(ordered.dtype).eps * float(wide.abs().max())
    spread = float(wide[-1] - wide[0])
    return next((scale for scale in (excess, spread) if scale > least), 1.0)
