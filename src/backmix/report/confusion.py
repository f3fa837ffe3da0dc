"""What was taken for what: the confusion matrix with "unknown" as an answer, and the pairs it is made of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backmix.data.folder import natural_key
from backmix.pages.pictures import data_uri
from backmix.pages.words import count
from backmix.report.tested import Tested

MOST_COLUMNS = 20  # Known classes up to which a table can be read.
MOST_UNKNOWN_ROWS = 12
MOST_PAIRS = 20
MOST_CELLS = 600  # Rows and columns up to which the small picture is drawn.


@dataclass(frozen=True)
class ConfusionRow:
    """One class of images and what was answered for them.

    Attributes:
        name: of the class; for pooled classes, how many.
        known: whether the run knows it.
        counts: (K + 1,) images by answer, "unknown" last.
        own: column of the right answer.
        pooled: unknown classes that share this row, 1 for a row of one class.
    """

    name: str
    known: bool
    counts: NDArray[np.int64]
    own: int
    pooled: int = 1

    @property
    def total(self) -> int:
        """Images of the row."""
        return int(self.counts.sum())

    def kind(self, column: int) -> str:
        """What an answer is: "right", "unknown" (a known image rejected) or "wrong"."""
        if column == self.own:
            return "right"
        return "unknown" if column == len(self.counts) - 1 else "wrong"

    def weight(self, column: int) -> float:
        """Share of the row's images, 0..1, for shading."""
        return float(self.counts[column] / self.total) if self.total else 0.0


@dataclass(frozen=True)
class Pair:
    """Images of one class taken for another.

    Attributes:
        truth: what they show.
        answer: what was answered; never "unknown".
        images: how many.
        total: images there are of `truth`.
        known: whether the run knows `truth`.
    """

    truth: str
    answer: str
    images: int
    total: int
    known: bool


@dataclass(frozen=True)
class Confusion:
    """The confusion section: `rows` is the matrix; `picture` and `pairs` stand for it where it is too wide."""

    classes: list[str]
    rows: list[ConfusionRow]
    as_table: bool
    pairs: list[Pair]
    picture: str | None
    picture_words: str


def confusion_section(tested: Tested) -> Confusion:
    """What the confusion section shows."""
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
    """Rows of the matrix: every known class in the network's order, then unknown ones by name.

    Args:
        tested: the answers.
        most_unknown: unknown classes with a row of their own, those of most images; the rest shares one.
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
    """Pairs of different classes that were taken for each other most often, "unknown" aside."""
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
    """The matrix as a small picture, one pixel a cell, each row by its own total; None where it would be too large.

    White is none of a row's images and black all of them; rows of unknown classes lie below a grey line.
    """
    if len(rows) > MOST_CELLS or len(rows[0].counts) > MOST_CELLS:
        return None
    lines = []
    for number, row in enumerate(rows):
        if number and rows[number - 1].known and not row.known:
            lines.append(np.full(len(row.counts), 150, dtype=np.uint8))
        share = row.counts / max(1, row.total)
        # The root, so that the odd mistake is seen too.
        lines.append(np.rint(255 * (1 - np.sqrt(share))).astype(np.uint8))
    return Image.fromarray(np.stack(lines))
