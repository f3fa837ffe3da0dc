"""Names in one text come out as they went in, whatever they hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmix.data.names import join_names, match_names, plain_name, respelt_in_words, split_names


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


@pytest.mark.parametrize(
    ("found", "known", "matched"),
    [
        (["Cat", "dog", "red_fox"], ["cat", "dog", "red fox"], {"Cat": "cat", "dog": "dog", "red_fox": "red fox"}),
        (["red fox", "Red-Fox"], ["red_fox"], {"red fox": "red_fox", "Red-Fox": "red_fox"}),
        (["Cat", "cat"], ["cat"], {"cat": "cat"}),  # The data tells them apart, so a person does.
        (["A B"], ["a b", "a_b"], {}),  # It could be either.
        (["a_b", "A B"], ["a b", "a_b"], {"a_b": "a_b"}),
        (["owl", "catfish"], ["cat"], {}),
        (["\ufb01sh", " cat "], ["fish", "cat"], {"\ufb01sh": "fish", " cat ": "cat"}),
    ],
)
def test_names_are_matched_as_people_read_them(found, known, matched):
    assert match_names(found, known) == matched


@given(st.lists(st.text("aA _-b", min_size=1, max_size=4), unique=True), st.lists(st.text("aA _b", max_size=4)))
def test_a_matched_name_reads_alike_and_exact_names_come_first(found, known):
    matched = match_names(found, known)
    assert all(plain_name(name) == plain_name(of) and of in known for name, of in matched.items())
    assert all(matched[name] == name for name in found if name in known)


def test_the_sentence_on_other_spellings():
    assert respelt_in_words(["cat", "owl"], ["cat"]) is None
    assert respelt_in_words(["Cat", "dog"], ["cat", "dog"]) == (
        "spelt otherwise than the known classes, and taken for them: 'Cat' as 'cat'"
    )
