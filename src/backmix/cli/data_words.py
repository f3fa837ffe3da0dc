"""The sentences that commands print about the images that a person gave to a run."""

from __future__ import annotations

from collections.abc import Sequence

from backmix.data.folder import source_notes
from backmix.data.names import respelt_in_words
from backmix.data.source import ImageSource
from backmix.runs.seen import Seen


def seen_notes(seen: Seen, purpose: str) -> list[str]:
    """Return sentences on images that the run was trained on or that its threshold was fitted on.

    Args:
        seen: What the run knows of them.
        purpose: "calibrate" or "test".
    """
    so = {
        "calibrate": "a threshold from these accepts fewer new images than promised. Give images that were not trained "
        "on, or no DATA for those that the run held out",
        "test": "the figures are better than those of new images",
    }[purpose]
    if seen.trained is None:
        return [f"most of these images were trained on: {so}"]
    found = [f"{seen.trained} of these images were trained on: {so}"] if seen.trained else []
    if purpose == "test" and seen.calibrated:
        found.append(
            f"the threshold was fitted on {seen.calibrated} of these images: promised and observed acceptance agree "
            "more closely than on new images"
        )
    return found


def data_notes(source: ImageSource, classes: Sequence[str]) -> list[str]:
    """Return sentences on what was left out of some images, and on classes that are spelt otherwise than the known.

    Args:
        source: The images.
        classes: The names of the known classes.
    """
    present = [source.classes[number] for number in source.labels.unique().tolist() if number >= 0]
    respelt = respelt_in_words(present, classes)
    return [*source_notes(source), *([respelt] if respelt else [])]
