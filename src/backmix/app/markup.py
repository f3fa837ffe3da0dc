"""Format the answers as HTML. The templates show every name as plain text, even if it contains HTML."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

from backmix.app.acceptance import Rule
from backmix.app.pictures import Seen
from backmix.app.words import how_strange, what_it_means, why
from backmix.pages.glossary import GLOSSARY
from backmix.pages.render import fragment
from backmix.pages.words import count, listed, number, visible
from backmix.prediction.answer import UNKNOWN, Prediction
from backmix.prediction.rows import FORMATS

MEDIA = {"csv": "text/csv", "json": "application/json"}


def heading(classes: Sequence[str], advice: Sequence[str] = ()) -> str:
    """Return the heading of the page: its purpose, and the classes that the network knows.

    Args:
        classes: The names of the classes.
        advice: Sentences that say that the run should not be used, which stand first.
    """
    names = [visible(name) for name in classes]
    return fragment("app", "heading", names=names, few=listed(names, 4), advice=advice, glossary=GLOSSARY)


def share_note(accept: float, rule: Rule | None, refused: float | None = None) -> str:
    """Return a note on the effect of the share of known photographs to accept.

    Args:
        accept: The share.
        rule: The thresholds at it; None if there are none.
        refused: The estimated share of photographs of other things that is called unknown at it; None: not known.
    """
    return fragment("app", "note", rule=rule, meaning=what_it_means(accept, refused))


def answer_card(answer: Prediction, classes: Sequence[str], rule: Rule | None) -> str:
    """Return the large card with the answer for one picture.

    Args:
        answer: The answer at the share of `rule`.
        classes: The classes of the classifier, in the order of their numbers.
        rule: The thresholds that decided; None if there are none.
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
    """Return two pictures side by side: the picture that the network sees, and the evidence for the likeliest class.

    Args:
        plain: The data address of the picture that the network sees.
        evidence: The data address of the picture with the evidence.
        likeliest: The name of the likeliest class.
    """
    return fragment("app", "pictures", plain=plain, evidence=evidence, likeliest=likeliest)


def answer_table(seen: Sequence[Seen], answers: Sequence[Prediction]) -> str:
    """Return a table with the answers for several pictures, one in each row, and links to download the answers.

    Args:
        seen: The pictures.
        answers: The answer for each picture.
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
    """Return a message that stands in the place of an answer. The text is escaped here."""
    return fragment("app", "message", text=text)


def file_of_answers(answers: Sequence[Prediction], kind: str) -> bytes:
    """Return the content of a file with the answers, in the format of `backmix predict`.

    Args:
        answers: The answers to write.
        kind: The format, "csv" or "json".
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
    """Return a score with three digits, so that all scores in a column have the same number of digits."""
    if value is None or not math.isfinite(value):
        return number(value)
    return f"{value:#.3g}".removesuffix(".").replace("-", "−")
