"""The answers as HTML. Every name goes through `_name`: it is shown as text, whatever it is made of."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence

from backmix.app.acceptance import Rule
from backmix.app.pictures import Seen
from backmix.app.words import how_strange, what_it_means, why
from backmix.pages.words import count, number, visible
from backmix.prediction.answer import UNKNOWN, Prediction
from backmix.prediction.rows import FORMATS


def share_note(accept: float, rule: Rule | None) -> str:
    """What the share of known photographs to accept comes to."""
    if rule is None:
        return (
            '<p class="bm-warning">This run was never calibrated, so no picture is called unknown. '
            "Calibrate it with <code>backmix calibrate</code>.</p>"
        )
    if rule.overall.note is not None:
        text = rule.overall.note
        return f'<p class="bm-warning">{html.escape(text[0].upper() + text[1:])}</p>'
    return f"<p>{html.escape(what_it_means(accept))}</p>"


def answer_card(answer: Prediction, classes: Sequence[str], rule: Rule | None) -> str:
    """The answer for one picture, large.

    Args:
        answer: at the share of `rule`.
        classes: of the classifier, in the order of its numbers.
        rule: what decided; None: nothing did.
    """
    parts = [f'<p class="bm-path">{_name(answer.path)}</p>']
    kind = UNKNOWN if answer.label == UNKNOWN else "known"
    parts.append(f'<h2 class="bm-label">{_name(answer.label or "")}</h2>')
    if rule is None or answer.p_value is None:
        parts.append("<p>No threshold: every picture is given a class.</p>")
        figures = f"<div><dt>Unknown score</dt><dd>{_figure(answer.unknown_score)}</dd></div>"
    else:
        threshold = rule.of_class(list(classes).index(answer.top[0][0]))
        parts.append(f"<p>{how_strange(answer.p_value, len(threshold.scores))}</p>")
        parts.append(f"<p>{why(kind == 'known', threshold)}</p>")
        figures = (
            f"<div><dt>Unknown score</dt><dd>{_figure(answer.unknown_score)} "
            f"<small>known up to {_figure(threshold.threshold)}</small></dd></div>"
            f"<div><dt>p-value</dt><dd>{_figure(answer.p_value)} "
            f"<small>known above {number(threshold.alpha)}</small></dd></div>"
        )
    parts.append(f'<dl class="bm-figures">{figures}</dl>')
    parts.append(f"<h3>Likeliest classes</h3>{_bars(answer)}")
    return f'<article class="bm-answer bm-{kind}">{"".join(parts)}</article>'


def two_pictures(plain: str, evidence: str, likeliest: str) -> str:
    """What the network sees, beside where it sees the likeliest class.

    Args:
        plain: address of a picture.
        evidence: likewise.
        likeliest: name of the class.
    """
    name = _name(likeliest)
    return (
        '<div class="bm-pictures">'
        f'<figure><img src="{html.escape(plain)}" alt="The picture, cut to its central square">'
        "<figcaption>What the network sees: the central square.</figcaption></figure>"
        f'<figure><img src="{html.escape(evidence)}" '
        f'alt="The same, in colour where it speaks for {html.escape(visible(likeliest))}">'
        f"<figcaption>In colour: what speaks for {name}.</figcaption></figure></div>"
    )


def answer_table(seen: Sequence[Seen], answers: Sequence[Prediction]) -> str:
    """The answers for several pictures, one a row, with files to take away.

    Args:
        seen: the pictures.
        answers: for each.
    """
    failed = sum(answer.error is not None for answer in answers)
    unknown = sum(answer.label == UNKNOWN for answer in answers)
    summary = f"{count(len(answers), 'picture')}: {len(answers) - failed - unknown} known, {unknown} unknown" + (
        f", {failed} unreadable" if failed else ""
    )
    # The roles are said again: as cards, on narrow screens, the elements alone would not be taken for a table.
    heads = ("Picture", "File", "Answer", "Unknown score", "p-value", "Likeliest classes")
    head = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in heads)
    rows = "".join(_row(one, answer) for one, answer in zip(seen, answers, strict=True))
    return (
        f'<p class="bm-summary"><strong>{summary}.</strong></p>'
        f'<p class="bm-downloads">{_download(answers, "csv", "text/csv")}'
        f"{_download(answers, 'json', 'application/json')}</p>"
        '<div class="bm-scroll" role="region" aria-label="Answers" tabindex="0">'
        f'<table class="bm-table" role="table"><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{rows}</tbody></table></div>'
    )


def message(text: str) -> str:
    """A message in place of an answer; the text is escaped here."""
    return f'<p class="bm-error" role="alert">{html.escape(text)}</p>'


def file_of_answers(answers: Sequence[Prediction], kind: str) -> bytes:
    """The answers as a file, by the rules of `backmix predict`.

    Args:
        answers: what is written.
        kind: "csv" or "json".
    """
    form = FORMATS[kind]
    return form.head + form.between.join(form.row(answer) for answer in answers) + form.tail


def _row(seen: Seen, answer: Prediction) -> str:
    picture = f'<img src="{html.escape(seen.small)}" alt="" loading="lazy">' if seen.small else ""
    cells = [("Picture", picture), ("File", _name(answer.path))]
    if answer.error is not None:
        kind = "error"
        cells.append(("Answer", f'<span class="bm-tag">unreadable</span> {html.escape(visible(answer.error, 400))}'))
        cells += [("Unknown score", ""), ("p-value", ""), ("Likeliest classes", "")]
    else:
        kind = UNKNOWN if answer.label == UNKNOWN else "known"
        top = ", ".join(f"{_name(name)} {_percent(probability)}" for name, probability in answer.top[:3])
        cells += [
            ("Answer", f'<span class="bm-tag">{_name(answer.label or "")}</span>'),
            ("Unknown score", _figure(answer.unknown_score)),
            ("p-value", _figure(answer.p_value)),
            ("Likeliest classes", top),
        ]
    inner = "".join(f'<td role="cell" data-head="{head}">{cell}</td>' for head, cell in cells)
    return f'<tr role="row" class="bm-{kind}">{inner}</tr>'


def _bars(answer: Prediction) -> str:
    items = "".join(
        f'<li><span class="bm-class">{_name(name)}</span>'
        f'<span class="bm-track" aria-hidden="true"><span style="width: {100 * probability:.1f}%"></span></span>'
        f'<span class="bm-percent">{_percent(probability)}</span></li>'
        for name, probability in answer.top
    )
    return f'<ol class="bm-bars">{items}</ol>'


def _download(answers: Sequence[Prediction], kind: str, media: str) -> str:
    content = base64.b64encode(file_of_answers(answers, kind)).decode("ascii")
    address = f"data:{media};charset=utf-8;base64,{content}"
    return f'<a download="answers.{kind}" href="{address}">Download {kind.upper()}</a>'


def _percent(probability: float) -> str:
    if 0.005 <= probability <= 0.995:
        return f"{100 * probability:.0f}\u00a0%"
    return "&lt;\u00a01\u00a0%" if probability < 0.5 else "&gt;\u00a099\u00a0%"


def _figure(value: float | None) -> str:
    """A score with three digits, so that figures below each other have as many."""
    if value is None or not math.isfinite(value):
        return number(value)
    return f"{value:#.3g}".removesuffix(".").replace("-", "−")


def _name(text: str) -> str:
    return f"<bdi>{html.escape(visible(text))}</bdi>"
