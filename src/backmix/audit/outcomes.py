"""Hold the answers of a model by set, as columns, and find the images whose answer the background decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backmix.audit.journal import Records
from backmix.errors import DataError

SHOWN = 100


@dataclass(frozen=True)
class Column:
    """The answers of a model for one set. There is a row for each of the N images, even if it is not in the set.

    Attributes:
        output: (N,) int64, the highest output; -1 if the image is not in the set.
        answer: (N,) int64, the class of the data that the output stands for; -1 for none.
        truth: (N,) float32, the probability of the class of the image; NaN if it has none.
        entropy: (N,) float32 in 0..1, the entropy of the probabilities.
        score: (N,) float32, the unknown score.
    """

    output: Tensor
    answer: Tensor
    truth: Tensor
    entropy: Tensor
    score: Tensor

    @property
    def present(self) -> Tensor:
        """Whether each image is in the set, (N,) bool."""
        return self.output >= 0

    def changed(self, other: Column) -> Tensor:
        """Return whether the answer for each image differs from that of another set, (N,) bool.

        Each output that stands for no class counts as a class of its own.
        """
        return (self.answer != other.answer) | ((self.answer < 0) & (self.output != other.output))


def read_outcomes(chunks: Iterable[Records], sets: Sequence[str], to_data: Tensor, count: int) -> dict[str, Column]:
    """Return the columns of each set, from the chunks of a journal.

    Args:
        chunks: The records.
        sets: The names of the sets, in the order of their numbers in the records.
        to_data: (K,) int64, the class of the data for each output; -1 for none.
        count: The number of images, N.

    Raises:
        DataError: If a record is of an image, a set or an output that is not there.
    """
    columns: dict[str, Column] = {}
    for name in sets:
        output = torch.full((count,), -1, dtype=torch.int64)
        empty = torch.full((count,), torch.nan, dtype=torch.float32)
        columns[name] = Column(output, output.clone(), empty, empty.clone(), empty.clone())
    for chunk in chunks:
        for field, most in (("item", count), ("set", len(sets)), ("answer", len(to_data))):
            if len(chunk) and not 0 <= int(chunk[field].min()) <= int(chunk[field].max()) < most:
                raise DataError(
                    f"the answers kept of this audit are not of it: {field} goes from {chunk[field].min()} to "
                    f"{chunk[field].max()}, and there are {most}; delete them, or choose another folder"
                )
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
    """Return how much of the probability of its class each image owes to its background, (N,) float64 in -1..1.

    The score is the mean probability on the own background and on one of the same class, minus the mean probability on
    backgrounds of a random class and of the next class. Sets without the image are left out of the means. The score is
    NaN if one of the two means has no set.
    """
    fitting = _mean([columns["repasted"], columns["mixed-same"]])
    other = _mean([columns["mixed-random"], columns["mixed-next"]])
    return fitting - other


def decided_by_background(columns: Mapping[str, Column], labels: Tensor, among: Tensor) -> list[int]:
    """Find images that are answered correctly on their own background and wrongly on that of another image.

    Args:
        columns: The answers of the model, by set.
        labels: (N,) int64, the class of each image.
        among: (N,) bool, the images to search.

    Returns:
        The positions of at most `SHOWN` images, in descending order of `background_scores`; ties keep their order.
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
