"""The lines of the tables and bars of an audit's page, and the tracks that the bars are drawn on."""

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
    """Places in percent of the track's length.

    Attributes:
        kind: "own" or "other" background, or "none".
        start: where the bar begins.
        length: of the bar.
        low: where the interval begins.
        spread: its length.
        mark: a figure to compare with, None for none.
        zero: where 0 is, None where it is the left end.
        words: all of it, for those who do not see it.
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
    """What stands at the top: sentences, figures that stand out, and what is to be kept in mind."""

    lead: list[str]
    more: list[str]
    figures: list[Figure]
    caveats: list[str]


@dataclass(frozen=True)
class SetLine:
    """One of the seven sets; `track` and `seen` are None where no image is in it."""

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
    """A class; figures that cannot be given are dashes, and the track is None."""

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


@dataclass(frozen=True)
class Line:
    """A figure with its interval, in words and as a bar."""

    title: str
    detail: str
    value: str
    span: str
    track: Track


def summary(result: Mapping[str, Any], fail_above: float | None) -> Summary:
    """What stands at the top of the page."""
    told = (words.next_sentence(result), words.pasting_sentence(result), words.allowed_sentence(result, fail_above))
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
    more = [sentence for sentence in told if sentence is not None]
    return Summary(words.lead(result), more, figures, words.caveats(result))


def set_lines(result: Mapping[str, Any], example: PictureRow | None) -> list[SetLine]:
    """The seven sets in their order."""
    pictures = {seen.name: seen for seen in example.seen} if example is not None else {}
    chance = (result["from_background"] or {}).get("chance")
    lines = []
    for name in SETS:
        of = result["accuracy_intervals"][name]
        value, span = percent(of and of["value"], padded=True), words.span(of)
        bar = None
        if of is not None:
            mark = chance if name == "only-background" else None
            told = f"{TITLES[name]}: {value} right, 95 % interval {span}"
            told += f", by chance {percent(mark)}" if mark is not None else ""
            bar = track(of, told, kind=KINDS.get(name, "own"), mark=mark)
        images = result["images"][name]
        lines.append(SetLine(name, TITLES[name], MEANINGS[name], images, value, span, bar, pictures.get(name)))
    return lines


def class_lines(result: Mapping[str, Any]) -> list[ClassLine]:
    """Classes with images, the largest gap first, those without one last; of equal ones in their own order."""
    classes = {name: of for name, of in result["classes"].items() if of["images"]}
    gaps = [of["background_gap"] for of in classes.values() if of["background_gap"] is not None]
    scale = common_scale(gaps)

    def order(entry: tuple[str, Any]) -> float:
        gap = entry[1]["background_gap"]
        return 2.0 if gap is None else -float(gap["value"])

    return [_class_line(name, of, scale) for name, of in sorted(classes.items(), key=order)]


def change_lines(result: Mapping[str, Any]) -> list[Line]:
    """Answers that change, and those right without an object."""
    lines = []
    for name, (title, detail, kind) in CHANGES.items():
        if (of := result[name]) is not None:
            chance = of.get("chance")
            told = f"{title}: {percent(of['value'])}, 95 % interval {words.span(of)}"
            if chance is not None:
                told += f", by chance {percent(chance)}"
                detail += f"; the line marks chance, {percent(chance)}"
            bar = track(of, told, kind=kind, mark=chance)
            lines.append(Line(title, detail, percent(of["value"], padded=True), words.span(of), bar))
    return lines


def entropy_lines(result: Mapping[str, Any]) -> list[Line]:
    """How undecided the probabilities are."""
    lines = []
    for name, title in ENTROPIES.items():
        if (of := result["entropy"][name]) is not None:
            value, span = f"{of['value']:.2f}", f"{of['low']:.2f} to {of['high']:.2f}"
            bar = track(of, f"{title}: {value}, 95 % interval {span}", kind="none" if name == "original" else "own")
            lines.append(Line(title, "", value, span, bar))
    return lines


def auroc_lines(open_set: Mapping[str, Any] | None) -> list[Line]:
    """The four AUROCs, the plainest first."""
    lines: list[Line] = []
    if open_set is None:
        return lines
    for pair, detail in PAIRS.items():
        if (of := open_set["auroc"][pair]) is not None:
            value, span = percent(of["value"], padded=True), words.span(of)
            kind = "own" if pair == "Kk-Qq" else "other"
            told = f"{pair}, {detail}: AUROC {value}, 95 % interval {span}"
            lines.append(
                Line(pair.replace("-", " against "), detail, value, span, track(of, told, kind=kind, mark=0.5))
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
    """A figure on a scale.

    Args:
        of: `value`, `low` and `high`.
        words: what it is, with its numbers.
        kind: see `Track`.
        scale: the ends of the track, the first at most 0 and the second above; what lies beyond is cut.
        mark: a figure to compare with.
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
    """Ends of a track that all figures fit on: from 0 or below to 1 at most, as wide as is needed."""
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
    )
