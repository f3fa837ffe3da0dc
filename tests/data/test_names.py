"""Names in one text come out as they went in, whatever they hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmix.data.names import join_names, split_names


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("cat,dog", ["cat", "dog"]),
        (" cat , dog ", ["cat", "dog"]),
        ("tench\\, Tinca tinca,goldfish", ["tench, Tinca tinca", "goldfish"]),
        ("a\\\\,b", ["a\\", "b"]),
        ("a\\b", ["a\\b"]),
        (r"a\\\,b", [r"a\,b"]),
        ("\\ a\\ ,b", [" a ", "b"]),
        (",", ["", ""]),
        ("", [""]),
        ("a,,b", ["a", "", "b"]),
    ],
)
def test_names_as_people_type_them(typed, names):
    assert split_names(typed) == names


@given(st.lists(st.text(st.characters(codec="utf-8") | st.sampled_from(" ,\\\n\t")), min_size=1))
def test_names_joined_and_split_are_the_same(names):
    assert split_names(join_names(names)) == names


def test_plain_names_are_joined_by_commas():
    assert join_names(["red", "dark blue"]) == "red,dark blue"
