"""The table and the notes that `backmix audit` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from backmix.audit.page_words import quality_sentence
from backmix.pages.words import hundredths
from backmix.prediction.rows import printable

_CLASSES = 12
_IMAGES = 5


def say(console: Console, result: dict[str, Any]) -> None:
    """Print a short table of an audit, and its notes; what estimated masks are worth stands first."""
    if (quality := quality_sentence(result)) is not None:
        console.print(printable(quality.replace("\u00a0", " ")), style="yellow")
    table = Table("set", title="accuracy, percent, with 95 % intervals")
    for head in ("images", "right", "from", "to"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, value in result["accuracy"].items():
        interval = result["accuracy_intervals"][name] or {"low": None, "high": None}
        numbers = (value, interval["low"], interval["high"])
        table.add_row(name, str(result["images"][name]), *(hundredths(number) for number in numbers))
    console.print(table)
    for name, words in (
        ("background_gap", "background gap: mixed-same minus mixed-random"),
        ("flips", "answers that change when only the background does"),
        ("pasting_cost", "cost of pasting: original minus repasted"),
        ("from_background", "recognised from the background alone"),
    ):
        if (of := result[name]) is not None:
            chance = f"; by chance {hundredths(of['chance'])}" if of.get("chance") is not None else ""
            console.print(
                f"{words}: {hundredths(of['value'])} ({hundredths(of['low'])} to {hundredths(of['high'])}{chance})"
            )
    _say_classes(console, result["classes"])
    _say_open_set(console, result["open_set"])
    for entry in result["background_decides"][:_IMAGES]:
        wrong = entry["answers"].get("mixed-random"), entry["answers"].get("mixed-next")
        other = next((answer for answer in wrong if answer not in (None, entry["class"])), "")
        console.print(
            printable(f"the background decides: {entry['image']}, {entry['class']}; elsewhere answered {other}")
        )
    for note in result["notes"]:
        console.print(printable(note), style="yellow")


def _say_classes(console: Console, classes: dict[str, Any]) -> None:
    given = [(name, of) for name, of in classes.items() if of["background_gap"] is not None]
    given.sort(key=lambda pair: -pair[1]["background_gap"]["value"])
    if not given:
        return
    perhaps = any("masks" in of for _, of in given)
    # Of classes whose masks are poor, the gap says least, so they stand last.
    given.sort(key=lambda pair: not pair[1].get("masks", {"good": True})["good"])
    title = "classes, the largest background gaps first, percent"
    table = Table("class", title=f"{title}; perhaps, as masks are estimated" if perhaps else title)
    for head in ("images", "gap", "from", "to", "from background"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("leans on the background of", overflow="fold")
    for name, of in given[:_CLASSES]:
        gap, leaning = of["background_gap"], of["leans_on"]
        words = "" if leaning is None else f"{leaning['name']} ({hundredths(leaning['share'])} of such images)"
        if (poor := of.get("masks", {}).get("why")) and (leaning is not None or gap["low"] > 0):
            words = f"{words or 'perhaps'}; not to be relied on: {poor}"
        alone = of["from_background"] or {"value": None}
        numbers = (gap["value"], gap["low"], gap["high"], alone["value"])
        table.add_row(printable(name), str(of["images"]), *(hundredths(number) for number in numbers), printable(words))
    console.print(table)


def _say_open_set(console: Console, of: dict[str, Any] | None) -> None:
    if of is None:
        return
    pairs = ", ".join(
        f"{pair} {hundredths(entry['value'])}" for pair, entry in of["auroc"].items() if entry is not None
    )
    console.print(f"AUROC by {of['score']}, K and Q known and unknown objects, k and q backgrounds: {pairs or 'none'}")
    if (index := of["misleading_index"]) is not None:
        console.print(
            f"background misleading index: {hundredths(index['value'])} "
            f"({hundredths(index['low'])} to {hundredths(index['high'])})"
        )
