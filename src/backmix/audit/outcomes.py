"""What a model said of every image in every set, as columns, and whose answer the background decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backmix.audit.journal import Records

SHOWN = 100


@dataclass(frozen=True)
class Column:
    """What the model said of one set; N images, those that are not in the set included.

    Attributes:
        output: (N,) int64 output that is highest, -1 where the image is not in the set.
        answer: (N,) int64 class of the data that this stands for, -1 for none of them.
        truth: (N,) float32 probability of the image's own class, NaN where it has none.
        entropy: (N,) float32 in 0..1.
        score: (N,) float32 unknown score.
    """

    output: Tensor
    answer: Tensor
    truth: Tensor
    entropy: Tensor
    score: Tensor

    @property
    def present(self) -> Tensor:
        """(N,) bool, whether the image is in the set."""
        return self.output >= 0

    def changed(self, other: Column) -> Tensor:
        """(N,) bool: the answer is another; outputs that stand for no class count as classes of their own."""
        return (self.answer != other.answer) | ((self.answer < 0) & (self.output != other.output))


def read_outcomes(chunks: Iterable[Records], sets: Sequence[str], to_data: Tensor, count: int) -> dict[str, Column]:
    """Columns by set from the chunks of a journal.

    Args:
        chunks: records.
        sets: names of the sets, by their number in the records.
        to_data: (K,) int64 class of the data for each output, -1 for none.
        count: number of images, N.
    """
    columns: dict[str, Column] = {}
    for name in sets:
        output = torch.full((count,), -1, dtype=torch.int64)
        empty = torch.full((count,), torch.nan, dtype=torch.float32)
        columns[name] = Column(output, output.clone(), empty, empty.clone(), empty.clone())
    for chunk in chunks:
        for number in sorted(set(chunk["set"].tolist())):
            part = chunk[chunk["set"] == number]
            rows = torch.from_numpy(part["item"].astype("int64"))
            column = columns[sets[number]]
            column.output[rows] = torch.from_numpy(part["answer"].astype("int64"))
            column.answer[rows] = to_data[column.output[rows]]
            column.truth[rows] = torch.from_numpy(part["truth"].astype("float32"))
            column.entropy[rows] = torch.from_numpy(part["entropy"].astype("float32"))
            column.score[rows] = torch.from_numpy(part["score"].astype("float32"))
    return columns


def background_scores(columns: Mapping[str, Column]) -> Tensor:
    """How much of an image's probability of its own class its background carries, (N,) float64 in -1..1.

    The mean on its own background and on one of its class, minus the mean on those of a random and of the next class;
    of what there is. NaN where one of the two is missing.
    """
    fitting = _mean([columns["repasted"], columns["mixed-same"]])
    other = _mean([columns["mixed-random"], columns["mixed-next"]])
    return fitting - other


def decided_by_background(columns: Mapping[str, Column], labels: Tensor, among: Tensor) -> list[int]:
    """Images that are answered right on their own background and wrong on that of another, at most `SHOWN`.

    Args:
        columns: what the model said, by set.
        labels: (N,) int64 class of each image.
        among: (N,) bool, which images to look at.

    Returns:
        Their positions, those with the highest `background_scores` first, ties in their own order.
    """
    right = {name: column.present & (column.answer == labels) for name, column in columns.items()}
    wrong = [columns[name].present & ~right[name] for name in ("mixed-random", "mixed-next")]
    rows = (among & right["repasted"] & (wrong[0] | wrong[1])).nonzero()[:, 0]
    scores = background_scores(columns)[rows].nan_to_num(-2.0)
    order = scores.argsort(descending=True, stable=True)[:SHOWN]
    found: list[int] = rows[order].tolist()
    return found


def _mean(columns: list[Column]) -> Tensor:
    return torch.stack([column.truth.double() for column in columns]).nanmean(0)
