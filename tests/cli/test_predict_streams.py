"""The table in the terminal and rows on standard output."""

import io
import json

import pytest
from predict_colours import found, prediction
from rich.console import Console

from backmix.cli import predict_streams
from backmix.cli.predict_streams import AnswerStream, AnswerTable
from backmix.prediction.answer import Prediction


def table(*answers, width=200):
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False)
    shown = AnswerTable(console)
    for answer in answers:
        shown.add(found(answer.path)[0], answer)
    shown.close(complete=True)
    return shown, console.file.getvalue()


def test_a_row_an_image():
    shown, said = table(prediction("[x] :cat:.png", "red"), Prediction("b.png", error="no such file"))
    assert "[x] :cat:.png" in said and "0.500" in said and "red 0.75, blue 0.25" in said and "no such file" in said
    assert shown.counts == {"known": 1, "error": 1} and "more" not in said


def test_a_terminal_is_not_steered_by_names():
    _, said = table(prediction("\x1b[2J\u202egnp.\x07exe\nx", "\x1b]0;title\x07"))
    assert not set("\x1b\u202e\x07") & set(said) and r"\x1b[2J\u202egnp.\x07exe\nx" in said


def test_nobody_is_shown_more_than_some_hundred(monkeypatch):
    monkeypatch.setattr(predict_streams, "SHOWN", 3)
    shown, said = table(*(prediction(f"{number}.png") for number in range(10)))
    assert "2.png" in said and "3.png" not in said and shown.counts.total() == 10
    assert "... and 7 more; --out answers.csv writes all of them" in said


@pytest.mark.parametrize("number", [0, 2])
def test_rows_as_they_come(number):
    out = io.BytesIO()
    stream = AnswerStream(out, "json")
    for n in range(number):
        stream.add(found("a")[0], prediction(f"{n}.png"))
        assert f"{n}.png".encode() in out.getvalue()
    stream.close(complete=True)
    assert [row["path"] for row in json.loads(out.getvalue())] == ["0.png", "1.png"][:number]
