"""The section of a report on what was taken for what."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from backmix.pages.pictures import data_uri
from backmix.pages.words import count
from backmix.report.confusion import MOST_COLUMNS, Pair, Row, confused_pairs, confusion_image, confusion_rows
from backmix.report.tested import Tested


@dataclass(frozen=True)
class Confusion:
    """The confusion section: `rows` is the matrix; `picture` and `pairs` stand for it where it is too wide."""

    classes: list[str]
    rows: list[Row]
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
