"""The answers as HTML. The templates show every name as text, whatever it is made of."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

from backmix.app.acceptance import Rule
from backmix.app.pictures import Seen
from backmix.app.words import how_strange, what_it_means, why
from backmix.pages.render import fragment
from backmix.pages.words import count, listed, number, visible
from backmix.prediction.answer import UNKNOWN, Prediction
from backmix.prediction.rows import FORMATS

MEDIA = {"csv": "text/csv", "json": "application/json"}


def heading(classes: Sequence[str]) -> str:
    """What the page is for, and which classes its network knows."""
    names = [visible(name) for name in classes]
    return fragment("app", "heading", names=names, few=listed(names, 4))


def share_note(accept: float, rule: Rule | None) -> str:
    """What the share of known photographs to accept comes to."""
    return fragment("app", "note", rule=rule, meaning=what_it_means(accept))


def answer_card(answer: Prediction, classes: Sequence[str], rule: Rule | None) -> str:
    """The answer for one picture, large.

    Args:
        answer: at the share of `rule`.
        classes: of the classifier, in the order of its numbers.
        rule: what decided; None: nothing did.
    """
    if rule is None or answer.p_value is None:
        threshold, sentences = None, ["No threshold: every picture is given a class."]
    else:
        threshold = rule.of_class(list(classes).index(answer.top[0][0]))
        sentences = [
            how_strange(answer.p_value, len(threshold.scores)),
            why(answer.label != UNKNOWN, threshold),
        ]
    return fragment(
        "app",
        "card",
        answer=answer,
        kind=_kind(answer),
        threshold=threshold,
        sentences=sentences,
        figure=_figure,
        share=_percent,
    )


def two_pictures(plain: str, evidence: str, likeliest: str) -> str:
    """What the network sees, beside where it sees the likeliest class.

    Args:
        plain: address of a picture.
        evidence: address of the other picture.
        likeliest: name of the class.
    """
    return fragment("app", "pictures", plain=plain, evidence=evidence, likeliest=likeliest)


def answer_table(seen: Sequence[Seen], answers: Sequence[Prediction]) -> str:
    """The answers for several pictures, one a row, with files to take away.

    Args:
        seen: the pictures.
        answers: for each.
    """
    kinds = [_kind(answer) for answer in answers]
    failed, unknown = kinds.count("error"), kinds.count(UNKNOWN)
    summary = f"{count(len(answers), 'picture')}: {len(answers) - failed - unknown} known, {unknown} unknown" + (
        f", {failed} unreadable" if failed else ""
    )
    return fragment(
        "app",
        "table",
        rows=list(zip([one.small for one in seen], kinds, answers, strict=True)),
        summary=summary,
        downloads={kind: _address(answers, kind) for kind in MEDIA},
        figure=_figure,
        share=_percent,
    )


def message(text: str) -> str:
    """A message in place of an answer; the text is escaped here."""
    return fragment("app", "message", text=text)


def file_of_answers(answers: Sequence[Prediction], kind: str) -> bytes:
    """The answers as a file, by the rules of `backmix predict`.

    Args:
        answers: what is written.
        kind: "csv" or "json".
    """
    form = FORMATS[kind]
    return form.head + form.between.join(form.row(answer) for answer in answers) + form.tail


def _kind(answer: Prediction) -> str:
    if answer.error is not None:
        return "error"
    return UNKNOWN if answer.label == UNKNOWN else "known"


def _address(answers: Sequence[Prediction], kind: str) -> str:
    content = base64.b64encode(file_of_answers(answers, kind)).decode("ascii")
    return f"data:{MEDIA[kind]};charset=utf-8;base64,{content}"


def _percent(probability: float) -> str:
    if 0.005 <= probability <= 0.995:
        return f"{100 * probability:.0f}\u00a0%"
    return "<\u00a01\u00a0%" if probability < 0.5 else ">\u00a099\u00a0%"


def _figure(value: float | None) -> str:
    """A score with three digits, so that figures below each other have as many."""
    if value is None or not math.isfinite(value):
        return number(value)
    return f"{value:#.3g}".removesuffix(".").replace("-", "−")
