"""What is shown of an answer, and that no name is ever taken for markup."""

import csv
import io
import json
from html.parser import HTMLParser

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.app.acceptance import Rule
from backmix.app.markup import (
    answer_card,
    answer_table,
    file_of_answers,
    heading,
    message,
    share_note,
    two_pictures,
)
from backmix.app.pictures import Seen, Upload
from backmix.prediction.answer import Prediction
from backmix.threshold.conformal import ConformalThreshold

NAMES = [
    "<img src=x onerror=alert(1)>.jpg",
    '"><script>alert(1)</script>',
    "a\nb\rc\td.png",
    "photo\u202egpj.exe",
    "' onmouseover='x",
    "=HYPERLINK(1).png",
    "&lt;b&gt;",
    "\ud800.png",
]
RULE = Rule(ConformalThreshold.fit(torch.arange(40.0), 0.95), None)
ALLOWED = {
    "details",
    "summary",
    "p",
    "h2",
    "h3",
    "bdi",
    "dl",
    "div",
    "dt",
    "dd",
    "small",
    "ol",
    "li",
    "span",
    "article",
    "strong",
    "a",
}
ALLOWED |= {"h1", "figure", "figcaption", "img", "table", "thead", "tbody", "tr", "th", "td"}


class Read(HTMLParser):
    """Elements, attributes and the text of a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def answer(name: str = "x.png", label: str = "red", **options) -> Prediction:
    given = {"unknown_score": 3.0, "p_value": 0.9, "top": [("red", 0.75), ("blue", 0.2), ("green", 0.0001)]}
    return Prediction(name, label, **{**given, **options})


def seen(one: Prediction) -> Seen:
    return Seen(Upload("/hidden/place/x.png", one.path), one, "" if one.error else "data:image/jpeg;base64,AAAA")


def test_a_card_says_all_there_is_to_say():
    read = Read(answer_card(answer(), ["red", "blue", "green"], RULE))
    for text in ("x.png", "red", "Called known", "3.00", "known up to 38.0", "0.900", "known above 0.05"):
        assert text in read.text
    assert "75\u00a0%" in read.text and "20\u00a0%" in read.text and "<\u00a01\u00a0%" in read.text
    unknown = answer_card(answer(label="unknown", unknown_score=39.5, p_value=1 / 41), ["red", "blue", "green"], RULE)
    assert "bm-unknown" in unknown and "Called unknown" in unknown and "None of the 40" in unknown


def test_a_card_without_a_threshold():
    read = Read(answer_card(answer(p_value=None), ["red", "blue", "green"], None))
    assert "No threshold" in read.text and "p-value" not in read.text


def test_the_heading_names_a_few_classes_and_hides_the_rest():
    few, many = heading(["red", "<b>"]), heading(list("abcdef"))
    assert "knows 2 classes: red and &lt;b&gt;. Everything" in few and "All classes" not in few
    assert "knows 6 classes: a, b, c, d and 2 more." in many and "<details>" in many and "a, b, c, d, e, f" in many


def test_the_note_warns_where_every_picture_is_accepted():
    assert "about 5 in 100" in share_note(0.95, RULE) and "bm-warning" not in share_note(0.95, RULE)
    much = Rule(ConformalThreshold.fit(torch.arange(40.0), 0.99), None)
    assert "bm-warning" in share_note(0.99, much) and "at least 99 held-out" in share_note(0.99, much)
    assert "never calibrated" in share_note(0.95, None)


def test_a_table_has_a_row_a_file_and_says_how_many():
    answers = [answer("a.png"), answer("b.png", "unknown"), Prediction("c.png", error="empty (0 bytes)")]
    read = Read(answer_table([seen(one) for one in answers], answers))
    assert "3 pictures: 1 known, 1 unknown, 1 unreadable." in read.text and "empty (0 bytes)" in read.text
    assert [tag for tag, _ in read.elements].count("tr") == 4
    assert [kept.get("scope") for tag, kept in read.elements if tag == "th"] == ["col"] * 6
    assert "/hidden" not in answer_table([seen(one) for one in answers], answers)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text(name):
    one = answer(name, name, top=[(name, 0.9), ("blue", 0.1)])
    broken = Prediction(name, error=f"{name} is broken")
    pieces = [
        answer_card(one, [name, "blue"], RULE),
        answer_table([seen(one), seen(broken)], [one, broken]),
        two_pictures("data:image/jpeg;base64,AAAA", "data:image/jpeg;base64,BBBB", name),
        message(name),
        heading([name, "blue"]),
    ]
    for piece in pieces:
        read = Read(piece)
        assert {tag for tag, _ in read.elements} <= ALLOWED
        assert not any(key.startswith("on") for _, kept in read.elements for key in kept)
    shown = Read(pieces[0]).text
    if name.isprintable():
        assert name in shown
    assert not set("\n\r\t\u202e\ud800") & set(shown)


@given(st.text(max_size=40))
def test_any_name_is_text(name):
    one = answer(name, name, top=[(name, 0.9)])
    text = answer_table([seen(one)], [one])
    assert {tag for tag, _ in Read(text).elements} <= ALLOWED
    text.encode()  # It can be sent.


@pytest.mark.parametrize("name", NAMES)
def test_files_can_be_read_back_and_hold_no_formula(name):
    answers = [answer(name), Prediction("c.png", error="empty")]
    rows = list(csv.DictReader(io.StringIO(file_of_answers(answers, "csv").decode(), newline="")))
    assert [row["error"] for row in rows] == ["", "empty"] and rows[0]["label"] == "red"
    assert rows[0]["path"][:1] not in "=+-@\t\r"
    assert float(rows[0]["unknown_score"]) == 3 and float(rows[0]["p_value"]) == 0.9
    content = json.loads(file_of_answers(answers, "json"))
    assert content[0]["top"][0] == ["red", 0.75] and content[1]["error"] == "empty" and len(content) == 2
    assert json.loads(file_of_answers([], "json")) == []
