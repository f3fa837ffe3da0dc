"""Numbers and names in sentences."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmix.pages.words import (
    LONGEST_NAME,
    count,
    hundredths,
    interval,
    listed,
    number,
    percent,
    plain_percent,
    quoted,
    visible,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat", "cat"),
        ("line\nbreak\ttab\r\0", "line\\nbreak\\ttab\\r\\u0000"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\u2028b\u2067c", "a\\u2028b\\u2067c"),
        ("\ud800", "\\ud800"),
        ("<b>&\"'", "<b>&\"'"),  # Escaping is the template's part.
        ("קטלנית 猫 👩\u200d🚀", "קטלנית 猫 👩\u200d🚀"),
    ],
)
def test_what_turns_or_breaks_text_is_spelled_out(text, shown):
    assert visible(text) == shown


@given(st.text(max_size=400))
def test_a_name_fills_no_page_and_breaks_no_line(text):
    shown = visible(text)
    assert len(shown) <= 6 * (LONGEST_NAME + 3) and len(shown.splitlines()) <= 1
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\0\x1b")


def test_the_middle_of_a_long_name_is_left_out():
    shown = visible("a" * 500 + "z.png")
    assert shown.startswith("aaa") and shown.endswith("z.png") and " … " in shown


def test_a_quoted_name_is_kept_apart_from_the_direction_around_it():
    assert quoted("\u05d0\u05d1") == "\u2068\u05d0\u05d1\u2069"


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (1, "100 %"), (0.5, "50 %"), (0.1234, "12.3 %"), (0.0001, "< 0.1 %"),
                        (0.9999, "> 99.9 %"), (None, "–"), (math.nan, "–")]
)  # fmt: skip
def test_percent_is_0_or_100_only_where_the_share_is(share, text):
    assert percent(share).replace("\u00a0", " ") == text


def test_plain_shares_are_rounded_and_no_more():
    shares = (0, 0.05, 0.888, 0.9999, 1)
    assert [plain_percent(share, padded=False) for share in shares] == ["0 %", "5 %", "88.8 %", "100 %", "100 %"]
    assert [plain_percent(share) for share in shares] == ["0.0 %", "5.0 %", "88.8 %", "100.0 %", "100.0 %"]
    assert [hundredths(share) for share in (None, 0, 0.888)] == ["-", "0.0", "88.8"]


def test_numbers_of_a_column_have_as_many_digits():
    assert percent(0.5, padded=True) == "50.0\u00a0%" and number(-1.6, padded=True) == "−1.60"
    assert number(123.0, padded=True) == "123" and number(-1.6) == "−1.6"
    assert number(math.inf) == "∞" and number(-math.inf) == "−∞" and number(None) == number(math.nan) == "–"


def test_grammar():
    assert [count(n, "image") for n in (0, 1, 2, 1234)] == ["0 images", "1 image", "2 images", "1,234 images"]
    assert count(2, "class", "classes") == "2 classes"
    assert listed(["a"]) == "a" and listed(["a", "b"]) == "a and b" and listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefghij"), most=2) == "a, b and 8 more"
    assert interval(0.5, 1).replace("\u00a0", " ") == "50.0 to 100.0 %"
