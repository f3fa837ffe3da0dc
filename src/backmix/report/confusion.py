"""Compute the confusion matrix, with "unknown" as an answer, and the pairs of classes that are confused most often."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backmix.data.entries import natural_key
from backmix.pages.pictures import data_uri
from backmix.pages.words import count
from backmix.report.tested import Tested

MOST_COLUMNS = 20  # The largest number of known classes for which a table is readable.
MOST_UNKNOWN_ROWS = 12
MOST_PAIRS = 20
MOST_CELLS = 600  # The largest number of rows or columns for which the small picture is drawn.


@dataclass(frozen=True)
class ConfusionRow:
    """One row of the confusion matrix: a class of images and the answers for them.

    Attributes:
        name: The name of the class. For pooled classes, it states their number.
        known: Whether the run knows the class.
        counts: (K + 1,) the number of images by answer, "unknown" last.
        own: The column of the right answer.
        pooled: The number of unknown classes that share this row, 1 for a row of one class.
    """

    name: str
    known: bool
    counts: NDArray[np.int64]
    own: int
    pooled: int = 1

    @property
    def total(self) -> int:
        """The number of images in the row."""
        return int(self.counts.sum())

    def kind(self, column: int) -> str:
        """Return the kind of an answer: "right", "unknown" (a known image is rejected) or "wrong"."""
        if column == self.own:
            return "right"
        return "unknown" if column == len(self.counts) - 1 else "wrong"

    def weight(self, column: int) -> float:
        """Return the share of the images of the row that got an answer, 0..1, which decides the shade of the cell."""
        return float(self.counts[column] / self.total) if self.total else 0.0


@dataclass(frozen=True)
class Pair:
    """Images of one class that are taken for another class.

    Attributes:
        truth: The class that the images show.
        answer: The class that was answered; never "unknown".
        images: The number of these images.
        total: The number of all images of `truth`.
        known: Whether the run knows `truth`.
    """

    truth: str
    answer: str
    images: int
    total: int
    known: bool


@dataclass(frozen=True)
class Confusion:
    """The content of the confusion section.

    Attributes:
        classes: The names of the known classes.
        rows: The rows of the matrix.
        as_table: Whether the matrix is narrow enough for a table.
        pairs: The most frequent mistakes.
        picture: The matrix as a small picture, a data address; None if it is a table or is too large to draw.
        picture_words: A description of the picture.
    """

    classes: list[str]
    rows: list[ConfusionRow]
    as_table: bool
    pairs: list[Pair]
    picture: str | None
    picture_words: str


def confusion_section(tested: Tested) -> Confusion:
    """Return the content of the confusion section."""
    rows = confusion_rows(tested)
    as_table = len(tested.classes) <= MOST_COLUMNS
    image = None if as_table else confusion_image(rows)
    known = sum(row.known for row in rows)
    words = (
        f"Confusion matrix of {count(known, 'known class', 'known classes')} and "
        f"{count(len(rows) - known, 'row')} of unknown ones by {len(tested.classes) + 1:,} answers; its most "
        "frequent mistakes are in the table of pairs."
    )
    address = None
    if image is not None:
        times = max(1, 480 // max(image.size))
        size = (image.width * times, image.height * times)
        address = data_uri(image.resize(size, Image.Resampling.NEAREST), lossless=True)
    return Confusion(tested.classes, rows, as_table, confused_pairs(tested), address, words)


def confusion_rows(tested: Tested, *, most_unknown: int = MOST_UNKNOWN_ROWS) -> list[ConfusionRow]:
    """Return the rows of the matrix: every known class in the order of the network, then the unknown classes by name.

    Args:
        tested: The answers.
        most_unknown: The largest number of unknown classes with a row of their own. These are the classes with the most
            images; the others share one row.
    """
    columns = len(tested.classes) + 1
    answers = np.where(tested.accepted.numpy(), tested.predicted.numpy(), columns - 1)
    labels = tested.labels.numpy()
    known = np.zeros((columns - 1, columns), dtype=np.int64)
    np.add.at(known, (labels[labels >= 0], answers[labels >= 0]), 1)
    rows = [ConfusionRow(name, True, known[number], number) for number, name in enumerate(tested.classes)]
    unknown: dict[str, NDArray[np.int64]] = {}
    for row in np.flatnonzero(labels < 0).tolist():
        counts = unknown.setdefault(tested.truth[row], np.zeros(columns, dtype=np.int64))
        counts[answers[row]] += 1
    order = sorted(unknown, key=lambda name: (-int(unknown[name].sum()), natural_key(name)))
    # A row for "1 further class" would take the place of that class.
    shown = order if len(order) <= most_unknown + 1 else order[:most_unknown]
    rows += [ConfusionRow(name, False, unknown[name], columns - 1) for name in sorted(shown, key=natural_key)]
    rest = order[len(shown) :]
    if rest:
        pooled = np.sum([unknown[name] for name in rest], axis=0)
        rows.append(ConfusionRow(f"{len(rest)} further classes", False, pooled, columns - 1, len(rest)))
    return rows


def confused_pairs(tested: Tested, most: int = MOST_PAIRS) -> list[Pair]:
    """Return the pairs of a class and a wrong answer that occur most often. The answer "unknown" is not counted."""
    taken: Counter[tuple[str, int, bool]] = Counter()
    total: Counter[tuple[str, bool]] = Counter()
    for row, (truth, known) in enumerate(zip(tested.truth, tested.known.tolist(), strict=True)):
        total[truth, known] += 1
        if tested.accepted[row] and not (known and tested.correct[row]):
            taken[truth, int(tested.predicted[row]), known] += 1
    order = sorted(taken, key=lambda key: (-taken[key], key))
    return [
        Pair(truth, tested.classes[answer], taken[truth, answer, known], total[truth, known], known)
        for truth, answer, known in order[:most]
    ]


def confusion_image(rows: list[ConfusionRow]) -> Image.Image | None:
    """Draw the matrix as a small picture with one pixel for each cell; return None if it would be too large.

    A white cell holds none of the images of its row, a black cell all of them. Rows of unknown classes lie below a grey
    line.
    """
    if len(rows) > MOST_CELLS or len(rows[0].counts) > MOST_CELLS:
        return None
    lines = []
    for number, row in enumerate(rows):
        if number and rows[number - 1].known and not row.known:
            lines.append(np.full(len(row.counts), 150, dtype=np.uint8))
        share = row.counts / max(1, row.total)
        # The square root makes rare mistakes visible too.
        lines.append(np.rint(255 * (1 - np.sqrt(share))).astype(np.uint8))
    return Image.fromarray(np.stack(lines))
