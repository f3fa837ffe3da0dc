"""List how the head of a frozen network was trained, for the section of a report on training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backmix.pages.words import count, number, percent, visible
from backmix.report.run_facts import RunFacts, finite


@dataclass(frozen=True)
class HeadTraining:
    """The training of a head.

    Attributes:
        sentence: What was trained and what was not.
        facts: The name and the value of each fact.
        strengths: The strength of the penalty, the share answered right and the log loss of the images left out, and
            whether it was chosen; the strongest first. Empty if none was chosen.
    """

    sentence: str
    facts: list[tuple[str, str]]
    strengths: list[tuple[str, float, float, bool]]


def head_training(facts: RunFacts) -> HeadTraining | None:
    """Return how the head was trained; None if the run trained all weights, or does not tell."""
    if not facts.config.get("frozen"):
        return None
    head, chosen = facts.head, facts.chosen
    model, weights = visible(facts.config.get("model")), chosen.get("weights")
    strength = head.get("strength")
    strengths = _strengths(strength) if isinstance(strength, Mapping) else []
    kind = "logistic regression" if isinstance(strength, Mapping) else f"head of {visible(facts.config.get('method'))}"
    rows: list[tuple[str, str | None]] = [
        ("network, as published", model),
        ("its weights", visible(weights) if isinstance(weights, str) else None),
        ("trained", f"the head alone, a {kind}"),
        ("images trained on", _count(head.get("images"))),
        ("images that the network ran on", _ran_on(head.get("computed"))),
        ("mixed views of each image", _views(head.get("mixed_views"))),
        ("computed by", visible(head["engine"]) if isinstance(head.get("engine"), str) else None),
    ]
    best = next((entry for entry in strengths if entry[-1]), None)
    if best is not None:
        rows += [
            ("strength of the penalty", best[0]),
            ("training images answered right, each left out once", percent(best[1])),
        ]
    sentence = (
        f"The network {model} kept its published weights. It looked at each image once, and only the head, which "
        "turns what it saw into answers, was trained on that. So there are no epochs and no curves."
    )
    return HeadTraining(sentence, [(name, value) for name, value in rows if value is not None], strengths)


def comparison(facts: RunFacts) -> str | None:
    """Return a sentence on the head alone against all weights; None if only one of them was trained."""
    found = facts.metrics.get("comparison")
    if not isinstance(found, Mapping) or not finite(found.get("head")):
        return None
    if not finite(found.get("all")):
        why = found.get("why")
        return f"The head alone was trained{': ' + visible(why, 600) if isinstance(why, str) and why else ''}."
    kept = "All weights were kept" if found.get("kept") == "all" else "The head alone was kept"
    images = found.get("images")
    of = count(images, "training image") if isinstance(images, int) else "training images"
    return (
        f"{kept}. The head alone was trained first, then all weights. On {of} set aside from both, the head alone "
        f"answered {percent(found['head'])} right, and all weights {percent(found['all'])}."
    )


def _strengths(found: Mapping[str, Any]) -> list[tuple[str, float, float, bool]]:
    losses, accuracies = found.get("log_loss"), found.get("accuracy")
    if not isinstance(losses, Mapping) or not isinstance(accuracies, Mapping) or not finite(found.get("strength")):
        return []
    chosen = f"{found['strength']:g}"
    return [
        (number(float(name)), float(accuracies[name]), float(losses[name]), name == chosen)
        for name in losses
        if finite(losses[name]) and finite(accuracies.get(name)) and _is_text_of_number(name)
    ]


def _is_text_of_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _count(value: Any) -> str | None:
    return f"{value:,}" if isinstance(value, int) else None


def _views(found: Any) -> str | None:
    views = found.get("of_each_image") if isinstance(found, Mapping) else None
    if not isinstance(views, int) or views <= 0:
        return None
    mixed = found.get("mixed")
    share = f"; {percent(mixed)} of them show a part of another image" if finite(mixed) else ""
    return f"{views:,}, which the head also learned from{share}"


def _ran_on(computed: Any) -> str | None:
    if not isinstance(computed, int):
        return None
    return f"{computed:,}, whose features were not kept from an earlier run"
