"""Make the section of a report on how the unknown score was chosen, from what the run wrote about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backmix.pages.words import count, listed, signed, visible
from backmix.report.run_facts import RunFacts, finite
from backmix.report.tested import Thresholds

USUAL = "max_logit"  # The score that decides where none is chosen.

_Folds = list[tuple[list[str], dict[str, float]]]
"""For each round, the classes left out and the AUROC by score."""


@dataclass(frozen=True)
class Round:
    """A round of the choice.

    Attributes:
        left_out: The classes that were left out.
        auroc: The AUROC of each score in `ScoreChoiceSection.compared`, 0..1; None if the run does not tell it.
        best: The name of the score that was best in this round, and its AUROC.
    """

    left_out: list[str]
    auroc: list[float | None]
    best: tuple[str, float]


@dataclass(frozen=True)
class ScoreChoiceSection:
    """The content of the section.

    Attributes:
        lead: What was done and found, in sentences for a layman.
        remarks: What else a reader should know of the table.
        scores: The name of each score, its mean AUROC, the difference to the chosen one in percent points as text, and
            whether it was chosen; the best first. Empty if no score was chosen by leaving classes out.
        compared: The names of the scores whose AUROC is shown for each round: the chosen one, and the usual one.
        rounds: The rounds.
    """

    lead: list[str]
    remarks: list[str] = field(default_factory=list)
    scores: list[tuple[str, float, str, bool]] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)


def score_choice_section(facts: RunFacts, thresholds: Thresholds) -> ScoreChoiceSection | None:
    """Return the content of the section; None if the run tells nothing of a choice."""
    if not facts.head:
        return None
    found = facts.head.get("unknown_score")
    told: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    chosen, auroc, folds = str(told.get("detector")), _shares(told.get("auroc")), _folds(told.get("folds"))
    if chosen not in auroc:
        return ScoreChoiceSection([_not_chosen(facts, thresholds)])
    names = sorted(auroc, key=lambda name: -auroc[name])
    compared = [name for name in dict.fromkeys([chosen, USUAL]) if name in auroc]
    return ScoreChoiceSection(
        _lead(chosen, auroc, folds, told.get("images"), thresholds),
        _remarks(facts, chosen, auroc, thresholds),
        [(name, auroc[name], _difference(auroc[name] - auroc[chosen]), name == chosen) for name in names],
        compared,
        [
            Round(left_out, [each.get(name) for name in compared], max(each.items(), key=lambda item: item[1]))
            for left_out, each in folds
            if each
        ],
    )


def _folds(found: Any) -> _Folds:
    return [
        ([str(name) for name in entry["left_out"]], _shares(entry.get("auroc")))
        for entry in (found if isinstance(found, list) else [])
        if isinstance(entry, Mapping) and isinstance(entry.get("left_out"), list)
    ]


def _shares(found: Any) -> dict[str, float]:
    values = found if isinstance(found, Mapping) else {}
    return {str(name): float(value) for name, value in values.items() if finite(value)}


def _lead(chosen: str, auroc: dict[str, float], folds: _Folds, images: Any, thresholds: Thresholds) -> list[str]:
    sizes = sorted({len(names) for names, _ in folds})
    sentences = [
        "How strange an image looks can be measured in several ways, and which is best differs from one set of "
        "photographs to another. To choose one, some known classes were left out in turn, as if they were unknown, and "
        "the classifier's head was trained on the others."
    ]
    if folds:
        sentences.append(
            f"In each of {count(len(folds), 'round')}, {' or '.join(map(str, sizes))} of the known classes were left "
            "out."
        )
    sentences.append(
        f"The score {visible(chosen)} did best: it found an image of a class left out stranger than another new image "
        f"in {_of_hundred(auroc[chosen])} of 100 pairs{_against_usual(chosen, auroc)}."
    )
    alone = (
        f"Only the {count(images, 'training image')} took part" if isinstance(images, int) else "No others took part"
    )
    held = 0 if thresholds.overall is None else len(thresholds.overall.scores)
    threshold = (
        f", and none of the {count(held, 'image')} that set the threshold, so its promise holds as before"
        if held
        else ""
    )
    return [*sentences, f"{alone}: no image of a class that is unknown here{threshold}."]


def _against_usual(chosen: str, auroc: dict[str, float]) -> str:
    if chosen == USUAL:
        return ", and it is the one that is taken where no choice can be made"
    if USUAL not in auroc:
        return ""
    gain = auroc[chosen] - auroc[USUAL]
    more = f"{signed(abs(gain))} {'more' if gain >= 0 else 'fewer'}"
    return f", {more} than {USUAL} ({_of_hundred(auroc[USUAL])}), which is taken where no choice can be made"


def _remarks(facts: RunFacts, chosen: str, auroc: dict[str, float], thresholds: Thresholds) -> list[str]:
    remarks, decides = [], str(thresholds.detector)
    if not facts.config.get("frozen"):
        remarks.append(
            "All weights had been trained on images of these classes before, so a class that is really new is found "
            "less well than these figures say."
        )
    if any("+" in name for name in auroc):
        remarks.append("Two scores joined by + are one: the mean of their p-values.")
    above = [visible(name) for name in auroc if auroc[name] > auroc[chosen]]
    if above:
        remarks.append(
            f"{listed(above)} {'comes' if len(above) == 1 else 'come'} out higher, but two scores together are taken "
            "only where they win by more than chance, because there are many pairs and a single score is simpler."
        )
    if decides != chosen:
        remarks.append(f"Since then another score was asked for: {visible(decides)} decides now.")
    return remarks


def _not_chosen(facts: RunFacts, thresholds: Thresholds) -> str:
    why = facts.head.get("why")
    reason = f": {visible(why, 600)}" if isinstance(why, str) and why else ""
    return f"{visible(thresholds.detector)} decides. It was not chosen by leaving known classes out{reason}."


def _of_hundred(share: float) -> str:
    return f"{100 * share:.1f}"


def _difference(share: float) -> str:
    text = signed(share)
    return text if text.startswith("−") or float(text) == 0 else f"+{text}"
