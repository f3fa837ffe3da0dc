"""Choose the images that a report tests a run on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backmix.classifier import OpenSetClassifier
from backmix.data.folder import source_notes
from backmix.data.load import absolute, load_source, recorded_here, usual_split
from backmix.data.names import respelt_in_words
from backmix.data.source import ImageSource, Subset
from backmix.errors import BackmixError, RunError
from backmix.pages.words import count, listed, quoted, visible
from backmix.runs.held_out import Shares, open_share, read_shares
from backmix.runs.seen import Seen, find_seen


@dataclass(frozen=True)
class ChosenImages:
    """The images that a report tests.

    Attributes:
        tested: The images of known classes and of other classes; None if there are none, see `missing`.
        unknown: The images that count as unknown whatever they show; None if none were given.
        new: Whether nothing was fitted on `tested`, as far as the run knows.
        origin: The origin of the images, in words.
        notes: Sentences on the limits of these images as a test.
        missing: The reason why there are no tested images, and what to do; None if there are.
    """

    tested: ImageSource | None = None
    unknown: ImageSource | None = None
    new: bool = False
    origin: str = ""
    notes: list[str] = field(default_factory=list)
    missing: str | None = None


def choose_images(
    run: Path,
    classifier: OpenSetClassifier,
    config: dict[str, Any],
    *,
    data: str | None = None,
    split: str | None = None,
    unknown: str | None = None,
    unknown_split: str | None = None,
    moved: str | None = None,
) -> ChosenImages:
    """Find the images of a report: those that the run held out for testing, or those that are given.

    Args:
        run: The folder of the run.
        classifier: The classifier of the run.
        config: The content of config.yaml of the run.
        data: The test images, as `backmix.data.load_source` takes them. If None, the images of the run.
        split: The split of `data`, or of the data of the run if `data` is None. If None, "test" if `data` has such a
            split, or the images that the run held out if `data` is None too.
        unknown: Further images, which all count as unknown. Images of classes that the run knows are left out.
        unknown_split: The split of `unknown`. If None, "test" if there is such a split.
        moved: Where the data of the run lies now. If None, where it lay when the run was trained.

    Raises:
        RunError: If `split` is given without `data`, and the run does not state its data.
        DataError: If images that were asked for cannot be opened.
    """
    shares, reason = _shares(run, moved)
    origin, notes, missing, new = "", list[str](), None, False
    tested: ImageSource | None = None
    if data is None and split is None:
        tested, missing = _own_images(shares, reason)
        origin, new = ("", False) if tested is None else ("the images that the run held out for testing", True)
    else:
        trained_on = (config.get("arguments") or {}).get("data")
        place = data or (shares.data if shares else moved or trained_on)
        if place is None:
            raise RunError(f"{run} does not say which data it was trained on; give --data beside --split")
        opened = data or (shares.opened if shares else moved or recorded_here(place))
        chosen = split or usual_split(opened)
        tested = load_source(absolute(opened), chosen, few=True)
        origin = called(place, chosen)
        if respelt := respelt_in_words(tested.classes, classifier.classes):
            notes.append(f"{respelt[0].upper()}{respelt[1:]}.")
        known_rows = (classifier.labels_for(tested) >= 0).nonzero().flatten()
        notes += seen_before(find_seen(run, tested, known_rows, place, chosen))
    others = None
    if unknown is not None:
        chosen_split = unknown_split or usual_split(unknown)
        others = load_source(absolute(unknown), chosen_split, few=True)
        known = classifier.labels_for(others) >= 0
        if known.any():
            names = sorted({others.classes[k] for k in others.labels[known].tolist()})
            notes.append(
                f"{count(int(known.sum()), 'image')} of {called(unknown)} "
                f"{'was' if int(known.sum()) == 1 else 'were'} left out: the run knows "
                f"{listed([quoted(name) for name in names])}."
            )
            others = Subset(others, (~known).nonzero().flatten())
        if len(others) == 0:
            notes.append(f"No image of {called(unknown)} is left to count as unknown.")
            others = None
        elif tested is not None and absolute(unknown) != absolute(data or (shares.data if shares else "")):
            notes.append(
                f"The unknown images of {called(unknown)} come from other data than the known ones. A network may tell "
                "them apart by how they were taken, not by what they show; images of your own kind are the better test."
            )
        origin += f"{', and ' if tested is not None else ''}{called(unknown, chosen_split)} as unknown"
    if data is not None or unknown is not None:
        notes += [f"{note[0].upper()}{note[1:]}." for source in (tested, others) for note in source_notes(source)]
    return ChosenImages(tested, others, new, origin, notes, missing)


def called(data: str, split: str | None = None) -> str:
    """Return the name of data in a sentence. Only the last part of a path is shown, because the folders are private."""
    name = Path(absolute(data)).name if Path(data).expanduser().exists() else data
    return quoted(name) + (f", split {quoted(split)}" if split else "")


def seen_before(seen: Seen) -> list[str]:
    """Return sentences on tested images that the run was trained or calibrated on."""
    if seen.trained is None:
        return ["Most of these images were trained on, so the figures are far better than those of new images."]
    found = []
    if seen.trained:
        found.append(
            f"{count(seen.trained, 'image')} of those tested {'was' if seen.trained == 1 else 'were'} trained on, so "
            "the figures are better than those of new images."
        )
    if seen.calibrated:
        found.append(
            f"The threshold was fitted on {count(seen.calibrated, 'image')} of those tested, so that promised and "
            "observed acceptance agree more closely than they would on new images."
        )
    return found


def _shares(run: Path, moved: str | None) -> tuple[Shares | None, str]:
    try:
        return read_shares(run, moved), ""
    except RunError as error:
        return None, str(error).replace(str(run), "This run", 1)


def _own_images(shares: Shares | None, reason: str) -> tuple[ImageSource | None, str | None]:
    how = "Test it on other images: backmix report RUN --data DATA"
    if shares is None:
        return None, f"{_shown(reason)} {how}"
    try:
        source = open_share(shares, shares.test)
        if len(source):
            return source, None
        return None, f"This run held out no images for testing. {how}"
    except BackmixError as error:
        return None, f"{_shown(str(error))} {how}"


def _shown(reason: str) -> str:
    # The text that follows has its own advice on how to give other images.
    for advice in (
        " Give the images yourself, as DATA.",
        " Put them back, say by --moved-to where they are, or give other images, as DATA.",
    ):
        reason = reason.replace(advice, "")
    return visible(reason, 600)
