"""Write the summary of a report: sentences on how good the run is, and on the limits of the test."""

from __future__ import annotations

from dataclasses import dataclass, field

from backmix.metrics.chance import share_of
from backmix.pages.figure import Figure
from backmix.pages.words import count, interval, listed, number, percent, quoted
from backmix.report.chosen_images import ChosenImages
from backmix.report.promise import choice, cost_rows, promise, refused
from backmix.report.run_facts import RunFacts
from backmix.report.tested import Tested, Thresholds
from backmix.runs.advice import advice

FEW = 30  # The number of images of a kind below which shares come with a warning.


@dataclass(frozen=True)
class OutcomePart:
    """A part of a bar: the images with one outcome. `kind` is "right", "unknown" or "wrong"."""

    kind: str
    name: str
    images: int
    share: float


@dataclass(frozen=True)
class Outcome:
    """The outcomes for the images of one kind.

    Attributes:
        title: The kind of images.
        total: The number of images, at least 1.
        parts: The parts of the bar; their images add up to the total.
    """

    title: str
    total: int
    parts: list[OutcomePart]

    @property
    def words(self) -> str:
        """All outcomes in a sentence."""
        parts = ", ".join(f"{part.name} {part.images:,} ({percent(part.share)})" for part in self.parts)
        return f"{self.title}, {self.total:,}: {parts}."


@dataclass(frozen=True)
class Summary:
    """The top of the report.

    Attributes:
        lead: One or two sentences with the main numbers.
        outcomes: The bars.
        figures: The main figures.
        promise: Sentences on promised and observed acceptance.
        caveats: The limits of the figures, one or two sentences each.
        cost: What several shares to accept cost, as rows of text: the share, known images accepted, others refused.
        advice: Sentences that say that the run should not be used, and what to do; empty if it is fine.
    """

    lead: list[str]
    outcomes: list[Outcome] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    promise: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    cost: list[tuple[str, str, str]] = field(default_factory=list)


def summarise(tested: Tested, chosen: ChosenImages, thresholds: Thresholds, facts: RunFacts) -> Summary:
    """Return the summary of a run on its test images."""
    known = int(tested.known.sum())
    unknown = len(tested) - known
    right, wrong = int(tested.right.sum()), int(tested.wrong.sum())
    called = known - right - wrong
    caught = int((~tested.known & ~tested.accepted).sum())
    new = "new " if chosen.new else ""
    taken = sorted({tested.classes[k] for k in tested.predicted[~tested.known & tested.accepted].tolist()})
    return Summary(
        [known_sentence(known, right, called, wrong, new), unknown_sentence(unknown, caught, taken, new)],
        _outcomes(known, right, called, wrong, unknown, caught),
        _figures(tested, right, caught),
        [*promise(tested, thresholds), *refused(tested, thresholds, facts), *choice(facts)],
        caveats(tested, chosen, thresholds, facts),
        advice(tested.verdict(), facts.config, facts.metrics, len(tested.classes)),
        cost_rows(tested, thresholds, facts),
    )


def known_sentence(images: int, right: int, unknown: int, wrong: int, new: str = "new ") -> str:
    """Return a sentence on the outcomes for images of known classes."""
    if images == 0:
        return "No image of a known class was tested, so how often it is right cannot be said."
    if images == 1:
        became = "is answered right" if right else 'is called "unknown"' if unknown else "is answered wrong"
        return f"The only {new}image of a known class {became}."
    if right == images:
        return f"It answers all {images:,} {new}images of known classes right."
    return (
        f"Of {images:,} {new}images of known classes it answers {_some(right)} right, calls {_some(unknown)} unknown, "
        f"and answers {_some(wrong)} wrong."
    )


def unknown_sentence(images: int, caught: int, taken: list[str], new: str = "new ") -> str:
    """Return a sentence on the outcomes for images of other things.

    Args:
        images: The number of images.
        caught: The number of images called unknown.
        taken: The known classes that the other images were taken for.
        new: "new " or "".
    """
    if images == 0:
        return "No image of anything else was tested, so how many unknown things it catches cannot be said."
    if images == 1:
        became = "called unknown" if caught else f"taken for {quoted(taken[0])}"
        return f"The only {new}image of something else is {became}."
    if caught == images:
        return f"It says unknown for all {images:,} {new}images of other things."
    if caught == 0:
        return (
            f"It says unknown for none of {images:,} {new}images of other things, and takes all for a class it knows."
        )
    return (
        f"Of {images:,} {new}images of other things it says unknown for {caught:,}, and takes {images - caught:,} for "
        "a class it knows."
    )


def caveats(tested: Tested, chosen: ChosenImages, thresholds: Thresholds, facts: RunFacts) -> list[str]:
    """Return the caveats that a reader must know to use the numbers."""
    known = int(tested.known.sum())
    unknown = len(tested) - known
    found = list(chosen.notes)
    if chosen.missing and chosen.unknown is not None:
        found.append(f"No known images were tested. {chosen.missing}")
    for images, name in ((known, "of known classes"), (unknown, "of other things")):
        if 0 < images < FEW:
            found.append(
                f"Only {count(images, 'image')} {name} {'was' if images == 1 else 'were'} tested. Shares of so few are "
                "rough: look at the intervals, not at the figures."
            )
    if unknown == 0:
        found.append(
            "Without unknown images there is no AUROC, no OSCR and no share of unknown things caught. That the "
            "threshold accepts known images says nothing of what else it accepts. Test with images of other things: "
            "backmix report RUN --unknown DATA."
        )
    absent = [name for number, name in enumerate(tested.classes) if not (tested.labels == number).any()]
    if absent and known:
        found.append(
            f"{count(len(absent), 'known class has', 'known classes have')} no image among those tested: "
            f"{listed([quoted(name) for name in absent])}."
        )
    overall = thresholds.overall
    if overall is not None and overall.note:
        found.append(f"The threshold is infinite: {overall.note}")
    if tested.unreadable:
        found.append(
            f"{count(len(tested.unreadable), 'image')} could not be read and "
            f"{'is' if len(tested.unreadable) == 1 else 'are'} not counted; see the settings."
        )
    if choice(facts) and unknown:
        found.append(
            "If the unknown images tested here are those that chose the unknown score, the share of unknown things "
            "caught and AUROC flatter a little."
        )
    if facts.chosen.get("pretrained") and unknown:
        found.append(
            "The network began with published weights. The photographs that these were trained on may show the classes "
            "that are called unknown here, which are then easier to tell apart than truly new ones."
        )
    outliers = facts.arguments.get("outliers")
    if outliers and outliers != "backgrounds" and unknown:
        found.append(
            f"The run learned from outliers, {quoted(outliers)}. Unknown images that resemble these are easier than "
            "others."
        )
    return found


def _outcomes(known: int, right: int, called: int, wrong: int, unknown: int, caught: int) -> list[Outcome]:
    def parts(total: int, *given: tuple[str, str, int]) -> list[OutcomePart]:
        return [OutcomePart(kind, name, images, images / total) for kind, name, images in given]

    found = []
    if known:
        kinds = (("right", "answered right", right), ("unknown", "called unknown", called))
        found.append(
            Outcome("Images of known classes", known, parts(known, *kinds, ("wrong", "answered wrong", wrong)))
        )
    if unknown:
        kinds = (("right", "called unknown", caught), ("wrong", "taken for a known class", unknown - caught))
        found.append(Outcome("Images of other things", unknown, parts(unknown, *kinds)))
    return found


def _figures(tested: Tested, right: int, caught: int) -> list[Figure]:
    known = int(tested.known.sum())
    unknown = len(tested) - known
    found = []
    for name, share in (
        ("known images answered right", share_of(right, known)),
        ("unknown images caught", share_of(caught, unknown)),
        ("right when it names a class", share_of(right, int(tested.accepted.sum()))),
    ):
        if share is not None:
            detail = f"{share.hits:,} of {share.total:,}; 95 % interval {interval(share.low, share.high)}"
            if name.startswith("right"):
                detail += (
                    f", in this mix of {known:,} known and {unknown:,} unknown" if unknown else ", of known images"
                )
            found.append(Figure(name, percent(share.value), detail))
    figures = tested.figures()
    if figures is not None:
        pairs = number(100 * figures["auroc"])
        found.append(
            Figure(
                "AUROC",
                f"{figures['auroc']:.3f}",
                f"of 100 pairs of an unknown and a known image, the unknown one seems stranger in {pairs}",
            )
        )
    return found


def _some(images: int) -> str:
    return f"{images:,}" if images else "none"
