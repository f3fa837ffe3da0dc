"""The sentences that commands print about the images that a person gave to a run."""

from __future__ import annotations

from collections.abc import Sequence

from backmix.data.folder import source_notes
from backmix.data.names import respelt_in_words
from backmix.data.source import ImageSource


def data_notes(source: ImageSource, classes: Sequence[str]) -> list[str]:
    """Return sentences on what was left out of some images, and on classes that are spelt otherwise than the known.

    Args:
        source: The images.
        classes: The names of the known classes.
    """
    present = [source.classes[number] for number in source.labels.unique().tolist() if number >= 0]
    respelt = respelt_in_words(present, classes)
    return [*source_notes(source), *([respelt] if respelt else [])]
