"""Pictures of an audit's page: images as the model saw them, with what it answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from backmix.audit.counterfactuals import SETS
from backmix.audit.gather import Gathered
from backmix.audit.items import Role
from backmix.audit.results import answer_name
from backmix.audit.run import Audit
from backmix.pages.pictures import data_uri, thumbnail
from backmix.pages.words import quoted

Show = Callable[[int], Mapping[str, Tensor]]
"""From an image to what the model saw of it, (3, S, S) uint8 by set, as `AuditRun.show` gives it."""

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
        name: of the set.
        title: the same for people.
        address: the picture itself.
        words: what it shows, for those who do not see it.
        background: class whose background it shows, None where it is its own or none.
        answer: what the model said.
        right: whether that is the image's class.
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
    """An image in several sets."""

    image: str
    truth: str
    seen: list[Seen]


def example(audit: Audit, gathered: Gathered, show: Show, decided: Sequence[int]) -> PictureRow | None:
    """One image in every set: the first in most sets of those that the background decides, or else of all.

    Args:
        audit: what came of it.
        gathered: what was audited.
        show: see `Show`.
        decided: images that the background decides, the clearest first.
    """
    present = sum(audit.columns[name].present.long() for name in SETS) * (gathered.items.parts == Role.known)
    if not present.any():
        return None
    best = int(present.max())
    item = next((item for item in decided if present[item] == best), int(present.argmax()))
    return row(item, audit, gathered, show, SETS)


def rows(items: Sequence[int], audit: Audit, gathered: Gathered, show: Show) -> list[PictureRow]:
    """The first `DECIDED` of some images, each in the sets of `IN_A_ROW`."""
    return [row(item, audit, gathered, show, IN_A_ROW) for item in items[:DECIDED]]


def masked(audit: Audit, gathered: Gathered, show: Show) -> list[PictureRow]:
    """`MASKED` images evenly through all, each as it is and as what the mask says is its object."""
    there = audit.columns["only-foreground"].present & (gathered.items.parts == Role.known)
    good = there.nonzero()[:, 0].tolist()
    chosen = [good[(2 * k + 1) * len(good) // (2 * MASKED)] for k in range(MASKED)] if len(good) > MASKED else good
    return [row(item, audit, gathered, show, IN_A_ROW[:2]) for item in chosen]


def row(item: int, audit: Audit, gathered: Gathered, show: Show, sets: Sequence[str]) -> PictureRow:
    """An image in those of some sets that it is in."""
    items, shown = gathered.items, show(item)
    truth, classes = items.class_of(item), items.classes(Role.known)
    seen = []
    for name in sets:
        if name not in shown:
            continue
        column, donors = audit.columns[name], audit.donors.get(name)
        answer = answer_name(int(column.output[item]), int(column.answer[item]), classes, gathered.names)
        background = None if donors is None else items.class_of(int(donors[item]))
        told = f"{quoted(truth)}, {TITLES[name]}" + (f", {quoted(background)}" if background is not None else "")
        picture = thumbnail(Image.fromarray(shown[name].permute(1, 2, 0).contiguous().numpy()))
        right = bool(column.answer[item] == items.labels[item])
        seen.append(Seen(name, TITLES[name], data_uri(picture), told, background, answer, right))
    return PictureRow(items.name(item), truth, seen)
