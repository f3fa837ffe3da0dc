"""The exact distance to the k-th nearest of many rows, by matrix products in float32."""

from __future__ import annotations

import torch
from torch import Tensor

PRODUCTS = 2**24  # The number of products in memory at the same time: 64 MiB in float32.
KEPT = 2**15  # The largest number of kept rows that are compared at the same time.
ALIGNED = 64  # Rows of products have a multiple of so many columns.
GROUP = 4  # The number of products of which only the largest is looked at first.
SPARE = 6  # The number of further rows that are looked at, because rounding can change their order.
PAIRS = 2048  # The number of pairs of rows whose difference is in memory at the same time.


class NearestRows:
    """Kept rows, of which the k-th nearest to any other row is found as if no number had been rounded.

    The order of the distances is that of x y - |y|^2 / 2, which is computed in float32 for blocks of rows. Where
    rounding could have changed which row is the k-th, the distances of the rows in question are computed again, in
    float64 from differences. Where there are more of those than `SPARE`, all products are computed in float64. That
    takes two to three times as long, and happens where the rows are close together beside their lengths. Where that
    does not decide either, all distances are computed from differences, which is slow, and happens where rows differ in
    length by a factor of more than about 10^7.

    Finding the nearest of B rows takes about 90 MiB beside both, whatever B and N are.

    Args:
        kept: (N, C) float32 finite rows, on the CPU. They are not copied.
    """

    def __init__(self, kept: Tensor) -> None:
        self.kept = kept
        self._parts = -(-len(kept) // KEPT)
        # In parts, because all at once would take a copy in float64.
        parts = kept.split(PAIRS)
        lengths = torch.cat([torch.linalg.vector_norm(part, 2, 1, dtype=torch.float64) for part in parts])
        self.longest = float(lengths.max())
        self._centre = torch.stack([part.sum(0, dtype=torch.float64) for part in parts]).sum(0) / len(kept)
        # Of rows of length 1, |y|^2 / 2 does not change the order. Each has it but for rounding, see `_rounding`.
        self.unit = bool(((lengths - 1).abs() < 1e-6).all())

    def kth_distance(self, rows: Tensor, k: int) -> Tensor:
        """Return the Euclidean distance (B,) float64 to the k-th nearest kept row, k from 1 to N.

        Args:
            rows: (B, C) float32 rows, on the CPU. The distance of a row with a number that is not finite is NaN.
            k: The neighbour that counts.
        """
        distances = torch.full((len(rows),), torch.nan, dtype=torch.float64)
        unsure = rows.isfinite().all(1).nonzero()[:, 0]
        columns = -(-len(self.kept) // self._parts)
        step = max(1, min(PRODUCTS // columns, len(rows)))
        for dtype in (torch.float32, torch.float64):
            if not len(unsure):
                return distances
            space = _space(step, columns, dtype)
            left = []
            for places in unsure.split(step):
                distances[places], near = self._kth(rows[places], k, space)
                left.append(places[near])
            unsure = torch.cat(left)
            del space
            step = -(-step // 2)  # Numbers in float64 take twice the memory.
        for place in unsure:
            distances[place] = self._all_distances(rows[place]).kthvalue(k).values
        return distances

    def _kth(self, rows: Tensor, k: int, space: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the distances (B,) float64 to the k-th nearest, and (B,) bool, which of them are not sure."""
        wide = space[0].dtype == torch.float64
        asked = rows - self._centre if wide else rows
        values, places = self._largest(asked, min(k + SPARE, len(self.kept)), space)
        values = values.double()
        kth = values[:, k - 1 : k]
        near = (values - kth).abs() <= 2 * self._rounding(asked)
        # What is nearer than the k-th for sure counts as -inf, what is farther as inf, the others by their distance.
        exact = torch.where(values > kth, -torch.inf, torch.inf).double()
        which, column = near.nonzero(as_tuple=True)
        exact[which, column] = self._distances(rows, which, places[which, column])
        unsure = ~values.isfinite().all(1)  # A product was too large.
        if values.shape[1] < len(self.kept):
            unsure |= near[:, -1]  # Further rows could be as near.
        return exact.kthvalue(k, 1).values, unsure

    def _rounding(self, rows: Tensor) -> Tensor:
        """Return (B, 1) float64, what x y - |y|^2 / 2 can differ by from the exact number, in the dtype of the rows.

        The error of a sum of C products grows like the square root of C, because rounding errors have both signs.
        """
        lengths = torch.linalg.vector_norm(rows, 2, 1, keepdim=True, dtype=torch.float64)
        step, longest = 2**-24, self.longest
        if rows.dtype == torch.float64:
            step, longest = 2**-53, self.longest + float(torch.linalg.vector_norm(self._centre))
        elif torch.get_float32_matmul_precision() != "highest":
            step = 2**-8  # Products are then allowed to be in bfloat16.
        if not self.unit or rows.dtype == torch.float64:
            lengths = lengths + longest / 2
        rounding: Tensor = lengths * (step * (rows.shape[1] ** 0.5 + 6) * longest)
        return rounding

    def _all_distances(self, row: Tensor) -> Tensor:
        """Return the distances (N,) float64 of one row to all kept rows."""
        wide = row.double()
        return torch.cat([torch.linalg.vector_norm(wide - part, 2, 1) for part in self.kept.split(PAIRS)])

    def _distances(self, rows: Tensor, which: Tensor, places: Tensor) -> Tensor:
        """Return the distances (P,) float64 of pairs: the rows `which` (P,), and the kept rows `places` (P,)."""
        found = torch.empty(len(which), dtype=torch.float64)
        for at in range(0, len(which), PAIRS):
            part = slice(at, at + PAIRS)
            gaps = rows[which[part]].double() - self.kept[places[part]]
            found[part] = torch.linalg.vector_norm(gaps, 2, 1)
        return found

    def _largest(self, rows: Tensor, k: int, space: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the k largest x y - |y|^2 / 2 of rows (B, C), the largest first, and the places of the kept rows y.

        Args:
            rows: (B, C) float32 rows, or float64 rows less the mean of the kept ones, which are then treated alike.
            k: The number of values to return, at most N.
            space: The memory for the products, see `_space`.
        """
        values, places = rows.new_empty(len(rows), 0), torch.empty(len(rows), 0, dtype=torch.int64)
        at = 0
        for part in self.kept.tensor_split(self._parts):
            block = part if rows.dtype == torch.float32 else part - self._centre
            products = torch.mm(rows, block.T, out=space[0][: len(rows), : len(block)])
            if not self.unit or rows.dtype != torch.float32:
                products -= block.square().sum(1) / 2
            largest, where = _largest_of([level[: len(rows)] for level in space], len(block), min(k, len(block)))
            values, places = torch.cat([values, largest], 1), torch.cat([places, at + where], 1)
            at += len(block)
            values, order = values.topk(min(k, values.shape[1]), 1)
            places = places.gather(1, order)
        return values, places


def _space(rows: int, columns: int, dtype: torch.dtype) -> list[Tensor]:
    """Return memory for a block of products, and for the maxima of groups of them, of groups of those, and so on.

    It is taken once, because the first use of fresh memory costs more time than the pass for the maxima.
    """
    space: list[Tensor] = []
    while not space or columns > 1:
        # Rows that begin where lines of the cache do are multiplied in three quarters of the time.
        wide = torch.empty(rows, -(-(columns + GROUP) // ALIGNED) * ALIGNED, dtype=dtype)
        space.append(wide)
        columns = -(-columns // GROUP)
    return space


def _largest_of(space: list[Tensor], count: int, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of the first columns of each row, in any order, and their columns.

    The columns are put into groups of `GROUP`. The k largest numbers are in the k groups with the largest maxima, which
    are found in the same way. So only short rows are searched: `topk` takes ten times as long as the pass for maxima.

    Args:
        space: What `_space` returned, with the numbers in its first tensor. The others are written to.
        count: The number of columns that count.
        k: The number of values to return, at most `count`.
    """
    numbers, *further = space
    if count <= 2 * GROUP * k:
        best = numbers[:, :count].topk(k, 1, sorted=False)
        return best.values, best.indices
    groups = -(-count // GROUP)
    numbers[:, count : groups * GROUP] = -torch.inf
    members = numbers[:, : groups * GROUP].unflatten(1, (GROUP, groups))  # Group g has columns g, g + groups, ...
    torch.amax(members, 1, out=further[0][:, :groups])
    chosen = _largest_of(further, groups, k)[1]  # (B, k)
    inside = members.gather(2, chosen[:, None, :].expand(-1, GROUP, -1)).flatten(1)  # (B, GROUP k)
    best = inside.topk(k, 1, sorted=False)
    return best.values, best.indices // k * groups + chosen.gather(1, best.indices % k)
