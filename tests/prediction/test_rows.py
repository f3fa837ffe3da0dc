"""Rows that any reader reads back, whatever the names."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from predict_colours import prediction

from backmix.prediction.answer import Prediction
from backmix.prediction.rows import COLUMNS, FORMATS, csv_row, harmless, json_row, printable

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def csv_cells(*answers):
    content = FORMATS["csv"].head + b"".join(map(csv_row, answers))
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


@pytest.mark.parametrize("start", [*"=+-@\t\r\n", " =", "\u00a0@", "\u200e+", "\ufeff-", "\uff1d"])
def test_cells_are_no_formulas(start):
    evil = f'{start}HYPERLINK("http://x")'
    rows = csv_cells(
        Prediction(evil, evil, -1.5, 0.25, [(evil, 0.75), ("b", 0.25)]),
        Prediction(evil, error=evil),
        Prediction("fine.png", "a", 2.0, None, [("a", 1.0)]),
    )
    assert rows[0] == ["path", "label", "unknown_score", "p_value", "top", "error"]
    assert rows[1] == ["'" + evil, "'" + evil, "-1.5", "0.25", f"'{evil}:0.7500 b:0.2500", ""]
    assert rows[2] == ["'" + evil, "", "", "", "", "'" + evil]
    assert rows[3] == ["fine.png", "a", "2", "", "a:1.0000", ""]


@pytest.mark.parametrize("text", ["a=1.png", "photos/-x.png", " x.png", "'=x", "", "1-2.png", "é+.png"])
def test_other_cells_stay_as_they_are(text):
    assert harmless(text) == text


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_csv_comes_back(path, label, error):
    rows = csv_cells(Prediction(path, label or None, 1.0, 1.0, [(label, 0.5)], error or None), prediction())
    assert len(rows) == 3 and rows[2][0] == "a.png"
    assert rows[1] == [harmless(path), harmless(label), "1", "1", harmless(f"{label}:0.5000"), harmless(error)]
    for cell in rows[1]:
        assert not cell.lstrip().startswith(("=", "+", "-", "@")) and cell[:1] not in ("\t", "\r", "\n")


@given(ANY_TEXT, ANY_TEXT)
def test_json_comes_back_in_one_line(path, label):
    answer = Prediction(path, label, 1 / 3, 0.1, [(label, 0.5)])
    line = json_row(answer)
    assert b"\n" not in line and b"\r" not in line
    row = json.loads(line)
    assert (row["path"], row["label"], row["top"]) == (path, label, [[label, 0.5]])
    assert (row["unknown_score"], row["p_value"], row["error"]) == (1 / 3, 0.1, None) and list(row) == list(COLUMNS)


def test_names_that_would_change_how_a_line_looks():
    name = 'a,"b";\n<script>alert(1)</script>\u202egnp.png'
    (_, row) = csv_cells(Prediction(name, "x,y", 1.0, 1.0, []))
    assert row[:2] == [name, "x,y"]
    # Where the semicolon separates, the cell still begins with a quote, so it is not cut.
    assert csv_row(Prediction("a;=1.png", "b", 1.0, 1.0, [])).startswith(b'"a;=1.png",')


def test_half_a_character_in_a_class_name():
    answer = Prediction("a.png", "\ud800x", 1.0, 1.0, [("\ud800x", 1.0)])
    assert csv_row(answer).decode().split(",")[1] == r"\ud800x"
    assert json.loads(json_row(answer))["label"] == "\ud800x"


@pytest.mark.parametrize("score", [float("inf"), float("-inf"), float("nan")])
def test_a_score_that_is_no_number_is_null(score):
    assert json.loads(json_row(Prediction("a", "b", score, 0.5, [])))["unknown_score"] is None


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("kind", list(FORMATS))
def test_whole_files(kind, number):
    form = FORMATS[kind]
    answers = [prediction(f"{n}.png") for n in range(number)]
    content = (form.head + form.between.join(form.row(answer) for answer in answers) + form.tail).decode()
    if kind == "csv":
        assert content.endswith("\r\n")
        paths = [row["path"] for row in csv.DictReader(io.StringIO(content, newline=""))]
    elif kind == "json":
        paths = [row["path"] for row in json.loads(content)]
    else:
        paths = [json.loads(line)["path"] for line in content.splitlines()]
    assert paths == [answer.path for answer in answers]


def test_what_a_terminal_is_shown():
    assert printable("é [x] 漢\x1b[2J\u202e\n\t\x9b.png") == "é [x] 漢\\x1b[2J\\u202e\\n\\t\\x9b.png"
