"""Make the lines of the tables and bars on the page of an audit, and the tracks that the bars are drawn on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backmix.audit import page_words as words
from backmix.audit.counterfactuals import SETS
from backmix.audit.page_pictures import TITLES, PictureRow, Seen
from backmix.pages.figure import Figure
from backmix.pages.words import count, percent, signed

FEW_OF_A_CLASS = 10
MEANINGS = {
    "original": "The image as it is.",
    "repasted": "The object pasted back where it was: what this costs is what pasting costs.",
    "only-foreground": "The object on grey.",
    "only-background": "The object taken out and the hole filled. The line marks what chance would get right.",
    "mixed-same": "The object on the background of another image of its class.",
    "mixed-random": "The object on the background of an image of any class, each equally often.",
    "mixed-next": "The object on the background of the next class, never its own.",
}
KINDS = {"only-foreground": "none", "mixed-random": "other", "mixed-next": "other"}
CHANGES = {
    "flips": ("Answer changes between classes", "from the object pasted back to a background of any class", "other"),
    "flips_same_class": ("Answer changes within the class", "to the background of another image of the class", "own"),
    "flips_by_pasting": ("Answer changes by pasting alone", "from the original to the object pasted back", "none"),
    "from_background": ("Right from the background alone", "the object taken out", "own"),
}
ENTROPIES = {"original": "On the originals", "only-background": "On backgrounds without their objects"}
PAIRS = {
    "Kk-Qq": "each on backgrounds of its own kind",
    "Kk-Qk": "both on backgrounds of known images",
    "Kq-Qq": "both on backgrounds of unknown images",
    "Kq-Qk": "each on backgrounds of the other kind",
}


@dataclass(frozen=True)
class Track:
    """A bar with its interval on a track. All places are in percent of the length of the track.

    Attributes:
        kind: The kind of background: "own", "other" or "none".
        start: The place where the bar begins.
        length: The length of the bar.
        low: The place where the interval begins.
        spread: The length of the interval.
        mark: The place of a figure to compare with, None if there is none.
        zero: The place of 0, None if 0 is the left end.
        words: The content of the track in words, for readers who cannot see it.
    """

    kind: str
    start: float
    length: float
    low: float
    spread: float
    mark: float | None
    zero: float | None
    words: str


@dataclass(frozen=True)
class Summary:
    """The top of the page.

    Attributes:
        lead: The main sentences.
        more: Further sentences.
        figures: The main figures.
        caveats: Sentences on the limits of the figures.
    """

    lead: list[str]
    more: list[str]
    figures: list[Figure]
    caveats: list[str]


@dataclass(frozen=True)
class SetLine:
    """A line on one of the seven sets. `track` and `seen` are None if the set has no image."""

    name: str
    title: str
    meaning: str
    images: int
    value: str
    span: str
    track: Track | None
    seen: Seen | None


@dataclass(frozen=True)
class ClassLine:
    """A line on one class. Figures that cannot be given are dashes; the track of a missing gap is None."""

    name: str
    images: int
    original: str
    same: str
    random: str
    gap: str
    span: str
    track: Track | None
    leans_on: tuple[str, str] | None
    alone: str
    perhaps: str | None = None


@dataclass(frozen=True)
class Line:
    """A figure with its interval, in words and as a bar."""

    title: str
    detail: str
    value: str
    span: str
    track: Track


def summary(result: Mapping[str, Any], fail_above: float | None) -> Summary:
    """Return the top of the page."""
    further = (words.next_sentence(result), words.pasting_sentence(result), words.allowed_sentence(result, fail_above))
    figures = []
    if (gap := result["background_gap"]) is not None:
        figures.append(
            Figure("Background gap", f"{signed(gap['value'])} points", f"95 % interval {words.span(gap, '')}")
        )
    if (flips := result["flips"]) is not None:
        detail = f"of the images change their answer; {words.span(flips)}"
        figures.append(Figure("When only the background changes", percent(flips["value"]), detail))
    if (alone := result["from_background"]) is not None:
        detail = f"{words.span(alone)}; by chance {percent(alone['chance'])}"
        figures.append(Figure("Right from the background alone", percent(alone["value"]), detail))
    if (whole := result["accuracy_intervals"]["original"]) is not None:
        detail = f"{words.span(whole)}; {count(result['images']['original'], 'image')}"
        figures.append(Figure("Right on the originals", percent(whole["value"]), detail))
    more = [sentence for sentence in further if sentence is not None]
    quality = words.quality_sentence(result)
    return Summary([*([quality] if quality else []), *words.lead(result)], more, figures, words.caveats(result))


def set_lines(result: Mapping[str, Any], example: PictureRow | None) -> list[SetLine]:
    """Return the lines of the seven sets, in their order."""
    pictures = {seen.name: seen for seen in example.seen} if example is not None else {}
    chance = (result["from_background"] or {}).get("chance")
    lines = []
    for name in SETS:
        of = result["accuracy_intervals"][name]
        value, span = percent(of and of["value"], padded=True), words.span(of)
        bar = None
        if of is not None:
            mark = chance if name == "only-background" else None
            description = f"{TITLES[name]}: {value} right, 95 % interval {span}"
            description += f", by chance {percent(mark)}" if mark is not None else ""
            bar = track(of, description, kind=KINDS.get(name, "own"), mark=mark)
        images = result["images"][name]
        lines.append(SetLine(name, TITLES[name], MEANINGS[name], images, value, span, bar, pictures.get(name)))
    return lines


def class_lines(result: Mapping[str, Any]) -> list[ClassLine]:
    """Return the lines of the classes that have images, the largest gap first.

    Classes without a gap come last; classes with equal gaps keep their order.
    """
    classes = {name: of for name, of in result["classes"].items() if of["images"]}
    gaps = [of["background_gap"] for of in classes.values() if of["background_gap"] is not None]
    scale = common_scale(gaps)

    def order(entry: tuple[str, Any]) -> float:
        gap = entry[1]["background_gap"]
        return 2.0 if gap is None else -float(gap["value"])

    return [_class_line(name, of, scale) for name, of in sorted(classes.items(), key=order)]


def change_lines(result: Mapping[str, Any]) -> list[Line]:
    """Return the lines on answers that change and on answers that are right without an object."""
    lines = []
    for name, (title, detail, kind) in CHANGES.items():
        if (of := result[name]) is not None:
            chance = of.get("chance")
            description = f"{title}: {percent(of['value'])}, 95 % interval {words.span(of)}"
            if chance is not None:
                description += f", by chance {percent(chance)}"
                detail += f"; the line marks chance, {percent(chance)}"
            bar = track(of, description, kind=kind, mark=chance)
            lines.append(Line(title, detail, percent(of["value"], padded=True), words.span(of), bar))
    return lines


def entropy_lines(result: Mapping[str, Any]) -> list[Line]:
    """Return the lines on the entropy of the probabilities."""
    lines = []
    for name, title in ENTROPIES.items():
        if (of := result["entropy"][name]) is not None:
            value, span = f"{of['value']:.2f}", f"{of['low']:.2f} to {of['high']:.2f}"
            bar = track(of, f"{title}: {value}, 95 % interval {span}", kind="none" if name == "original" else "own")
            lines.append(Line(title, "", value, span, bar))
    return lines


def auroc_lines(open_set: Mapping[str, Any] | None) -> list[Line]:
    """Return the lines of the four AUROCs, in the order of `PAIRS`; none without an open-set result."""
    lines: list[Line] = []
    if open_set is None:
        return lines
    for pair, detail in PAIRS.items():
        if (of := open_set["auroc"][pair]) is not None:
            value, span = percent(of["value"], padded=True), words.span(of)
            kind = "own" if pair == "Kk-Qq" else "other"
            description = f"{pair}, {detail}: AUROC {value}, 95 % interval {span}"
            lines.append(
                Line(pair.replace("-", " against "), detail, value, span, track(of, description, kind=kind, mark=0.5))
            )
    return lines


def track(
    of: Mapping[str, float],
    words: str,
    *,
    kind: str = "own",
    scale: tuple[float, float] = (0.0, 1.0),
    mark: float | None = None,
) -> Track:
    """Place a figure on a track.

    Args:
        of: The `value`, `low` and `high` of the figure.
        words: A description of the figure, with its numbers.
        kind: The kind of background, see `Track`.
        scale: The ends of the track. The first is at most 0 and the second above 0; values beyond the ends are cut.
        mark: A figure to compare with.
    """
    low, high = scale

    def place(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 2)

    start, end = sorted((place(0), place(of["value"])))
    first, last = place(of["low"]), place(of["high"])
    return Track(
        kind,
        start,
        round(end - start, 2),
        first,
        round(last - first, 2),
        None if mark is None else place(mark),
        place(0) if low < 0 else None,
        words,
    )


def common_scale(figures: list[Mapping[str, float]]) -> tuple[float, float]:
    """Return the ends of a track that all figures fit on. It starts at 0 or below and ends between 0.1 and 1."""
    low = min([0.0, *(of["low"] for of in figures)])
    high = max([0.1, *(of["high"] for of in figures)])
    return low, high


def _class_line(name: str, of: Mapping[str, Any], scale: tuple[float, float]) -> ClassLine:
    gap, alone, accuracy = of["background_gap"], of["from_background"], of["accuracy"]
    return ClassLine(
        name,
        of["images"],
        original=percent(accuracy["original"], padded=True),
        same=percent(accuracy["mixed-same"], padded=True),
        random=percent(accuracy["mixed-random"], padded=True),
        gap="–" if gap is None else signed(gap["value"]),
        span=words.span(gap, ""),
        track=None if gap is None else track(gap, f"gap {words.points(gap)}", scale=scale, kind="other"),
        leans_on=words.leaning(name, of["leans_on"]),
        alone=percent(alone and alone["value"], padded=True),
        perhaps=words.perhaps(of),
    )
