"""Make the pictures on the page of an audit: images as the model saw them, with its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from backmix.audit.counterfactuals import SETS
from backmix.audit.gather import Gathered
from backmix.audit.items import Role
from backmix.audit.mask_quality import plausible
from backmix.audit.results import answer_name
from backmix.audit.run import Audit
from backmix.pages.pictures import data_uri, thumbnail
from backmix.pages.words import quoted

Show = Callable[[int], Mapping[str, Tensor]]
"""A function from an image to its pictures by set, (3, S, S) uint8 as the model saw them, see `AuditRun.show`."""

DECIDED = 12
MASKED = 6
IN_A_ROW = ("original", "only-foreground", "mixed-same", "mixed-random", "mixed-next")
TITLES = {
    "original": "original",
    "repasted": "pasted back",
    "only-foreground": "only the object",
    "only-background": "only the background",
    "mixed-same": "background of its class",
    "mixed-random": "background of any class",
    "mixed-next": "background of the next class",
}


@dataclass(frozen=True)
class Seen:
    """An image in one set.

    Attributes:
        name: The name of the set.
        title: The name of the set, as people read it.
        address: The picture, as a data address.
        words: A description of the picture, for readers who cannot see it.
        background: The class whose background the picture shows, None if it is the image's own background or none.
        answer: The answer of the model.
        right: Whether the answer is the class of the image.
    """

    name: str
    title: str
    address: str
    words: str
    background: str | None
    answer: str
    right: bool


@dataclass(frozen=True)
class PictureRow:
    """A row of pictures: one image in several sets."""

    image: str
    truth: str
    seen: list[Seen]


def example(
    audit: Audit, gathered: Gathered, show: Show, decided: Sequence[int], *, estimated: bool = False
) -> PictureRow | None:
    """Return one image in every set, or None if no known image is in any set.

    It is an image that is in as many sets as any other: the first such image among those that the background decides,
    or else among all.

    Args:
        audit: The result of the audit run.
        gathered: The images and classes of the audit.
        show: See `Show`.
        decided: The images that the background decides, the clearest first.
        estimated: Whether the masks are estimated. Then an image with a plausible mask is chosen, if there is one.
    """
    present = sum(audit.columns[name].present.long() for name in SETS) * (gathered.items.parts == Role.known)
    if not present.any():
        return None
    if estimated:
        whole, alone = (audit.columns[name] for name in ("original", "only-foreground"))
        labels = gathered.items.labels
        right, right_alone = (of.present & (of.answer == labels) for of in (whole, alone))
        good = present * plausible(audit.states.shares, right, right_alone)
        present = good if good.any() else present
    best = int(present.max())
    item = next((item for item in decided if present[item] == best), int(present.argmax()))
    return row(item, audit, gathered, show, SETS)


def rows(items: Sequence[int], audit: Audit, gathered: Gathered, show: Show) -> list[PictureRow]:
    """Return the first `DECIDED` of some images, each in the sets of `IN_A_ROW`."""
    return [row(item, audit, gathered, show, IN_A_ROW) for item in items[:DECIDED]]


def masked(audit: Audit, gathered: Gathered, show: Show) -> list[PictureRow]:
    """Return `MASKED` evenly spaced images, each as it is and with only the object that its mask shows."""
    there = audit.columns["only-foreground"].present & (gathered.items.parts == Role.known)
    good = there.nonzero()[:, 0].tolist()
    chosen = [good[(2 * k + 1) * len(good) // (2 * MASKED)] for k in range(MASKED)] if len(good) > MASKED else good
    return [row(item, audit, gathered, show, IN_A_ROW[:2]) for item in chosen]


def row(item: int, audit: Audit, gathered: Gathered, show: Show, sets: Sequence[str]) -> PictureRow:
    """Return an image in each of the given sets that it is in."""
    items, shown = gathered.items, show(item)
    truth, classes = items.class_of(item), items.classes(Role.known)
    seen = []
    for name in sets:
        if name not in shown:
            continue
        column, donors = audit.columns[name], audit.donors.get(name)
        answer = answer_name(int(column.output[item]), int(column.answer[item]), classes, gathered.names)
        background = None if donors is None else items.class_of(int(donors[item]))
        words = f"{quoted(truth)}, {TITLES[name]}" + (f", {quoted(background)}" if background is not None else "")
        picture = thumbnail(Image.fromarray(shown[name].permute(1, 2, 0).contiguous().numpy()))
        right = bool(column.answer[item] == items.labels[item])
        seen.append(Seen(name, TITLES[name], data_uri(picture), words, background, answer, right))
    return PictureRow(items.name(item), truth, seen)
