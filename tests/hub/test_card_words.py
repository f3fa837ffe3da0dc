"""Whatever a name holds, it is text in the card and nothing else."""

import html
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from nasty_names import NASTY

from backmix.hub.card_words import LONGEST_NAME, count, number, percent, plain, value_in_words

# As the hub reads it: tables, bare links, and HTML that is let through.
MARKDOWN = MarkdownIt("gfm-like", {"html": True, "linkify": False}).enable(["table", "strikethrough"])


def shown(text):
    """What a reader sees of a text: hidden characters spelt out, spaces folded."""
    if len(text) > LONGEST_NAME:
        text = text[: LONGEST_NAME - 1] + "…"
    seen = "".join(
        character
        if character == " " or character in "\u200c\u200d" or unicodedata.category(character)[0] not in "CZ"
        else f"\\u{{{ord(character):x}}}"
        for character in text
    )
    return " ".join(seen.split(" "))


@given(st.text())
@example(NASTY[0])
@pytest.mark.parametrize("where", ["paragraph", "table", "list", "heading"])
def test_any_text_is_shown_as_it_is(where, text):
    before = {"paragraph": "x ", "table": "| a | b |\n| --- | --- |\n| x ", "list": "- x ", "heading": "# x "}[where]
    after = {"paragraph": " y", "table": " y | z |", "list": " y", "heading": " y"}[where]
    page = MARKDOWN.render(f"{before}{plain(text)}{after}\n")
    allowed = {
        "paragraph": "<p>x {} y</p>\n",
        "list": "<ul>\n<li>x {} y</li>\n</ul>\n",
        "heading": "<h1>x {} y</h1>\n",
        "table": "<table>\n<thead>\n<tr>\n<th>a</th>\n<th>b</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>x {} y</td>\n"
        "<td>z</td>\n</tr>\n</tbody>\n</table>\n",
    }[where]
    start, end = allowed.split("{}")
    assert page.startswith(start) and page.endswith(end)
    inside = page[len(start) : len(page) - len(end)]
    assert "<" not in inside and ">" not in inside
    assert html.unescape(inside) == shown(text)


@pytest.mark.parametrize("text", NASTY)
def test_nasty_names_hold_no_character_with_a_meaning(text):
    assert re.fullmatch(r"([A-Za-z0-9 ,-]|&#\d+;|[^\x00-\x7f])*", plain(text))
    assert "\n" not in plain(text) and "\u202e" not in plain(text)
    for tag in ("<script", "<img", "<a ", "<h1", "<td", "<code", "<strong"):
        assert tag not in MARKDOWN.render(f"x {plain(text)} y")


def test_hidden_characters_are_spelt_out():
    assert html.unescape(plain("a\u202eb\nc")) == "a\\u{202e}b\\u{a}c"
    assert plain("👩\u200d🚀 größer") == "👩\u200d🚀 größer"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "3"),
        (0.05, "0.05"),
        (1e-05, "1e-05"),
        (True, "True"),
        ("resnet18.a1_in1k", "`resnet18.a1_in1k`"),
        ("hub:owner/data", "`hub:owner/data`"),
        ("a|b", "a&#124;b"),
        ("a`b", "a&#96;b"),
        ({"momentum": 0.1, "fill": "grey"}, "momentum 0.1, fill `grey`"),
    ],
)
def test_settings_in_words(value, words):
    assert value_in_words(value) == words


@pytest.mark.parametrize("value", [None, "0.5", True, float("nan"), float("inf"), 10**400, -(10**400), [], {}])
def test_what_is_no_number(value):
    assert number(value) is None
    assert count(value) == 0


def test_numbers_and_shares():
    assert number(3) == 3.0 and number(0.5) == 0.5 and number(-2) == -2.0
    assert count(3) == 3 and count(-1) == 0 and count(2.0) == 0
    assert [percent(share) for share in (0, 0.05, 0.888, 0.9999, 1)] == ["0 %", "5 %", "88.8 %", "100 %", "100 %"]
