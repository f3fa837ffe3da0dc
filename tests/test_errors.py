"""What stands in the messages of errors, in one line each."""

import pytest

from backmix.errors import in_one_line, some_of


def test_some_are_the_first_and_how_many_more():
    assert some_of([]) == "" and some_of(["a"]) == "a" and some_of(list("abc"), 3) == "a, b, c"
    assert some_of(list("abcdefghijkl")) == "a, b, c, d, e, f, g, h, i, j and 2 more"
    assert some_of(["a\n", "it's", "c"], 2, quoted=True) == """'a\\n', "it's" and 1 more"""


@pytest.mark.parametrize(("error", "line"), [(ValueError("a\n b"), "a b"), (KeyError(), "KeyError")])
def test_what_others_say_is_one_line(error, line):
    assert in_one_line(error) == line
    assert len(in_one_line(ValueError("word " * 200))) <= 400
