"""Bare words of YAML: known answers of the core schema, and what earlier versions wrote."""

import math

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from backmix.data.yaml_scalars import MOST_DIGITS, core_value, is_text_for_all, text_of, written_value

VALUES = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{"0": 0, "-19": -19, "+12": 12, "007": 7, "08": 8, "0o7": 7, "0o17": 15, "0x3A": 58, "0xfF": 255},
    **{"0.": 0.0, "-0.0": -0.0, ".5": 0.5, "+12e03": 12000.0, "-2E+05": -2e5, "1e5": 1e5, "1e-1": 0.1, "1.5e3": 1500.0},
    **{"-.5": -0.5, ".inf": math.inf, "-.Inf": -math.inf, "+.INF": math.inf},
}
TEXTS = [
    *(
        "yes",
        "no",
        "on",
        "off",
        "y",
        "n",
        "Yes",
        "nULL",
        "tRUE",
        "none",
        "None",
        "nan",
        "inf",
        ".",
        "-",
        "+",
        "e5",
        ".e5",
    ),
    *(
        "1_000",
        "1:30",
        "1:30.5",
        "0b11",
        "-0x1",
        "-0o7",
        "0o8",
        "0xg",
        "0O7",
        "0X1",
        "1e",
        "1e+",
        "1.2.3",
        "1 2",
        "--1",
    ),
    *(
        "2024-01-01",
        "2001-12-14t21:59:43.10-05:00",
        "=",
        "<<",
        ".infx",
        "-.nan",
        "1٣",
        "٣",
        "1\n",
        "a",
        "true ",
        "1e5x",
    ),
]


@pytest.mark.parametrize("text", VALUES)
def test_values_of_the_core_schema(text):
    found = core_value(text)
    assert found == VALUES[text] and type(found) is type(VALUES[text])
    assert not is_text_for_all(text) and text_of(text) == text


@pytest.mark.parametrize("text", TEXTS)
def test_texts_of_the_core_schema(text):
    assert core_value(text) == text == written_value(text)


def test_not_a_number_is_one_and_a_zero_keeps_its_sign():
    assert all(math.isnan(core_value(text)) for text in (".nan", ".NaN", ".NAN"))
    assert math.copysign(1, core_value("-0.0")) == -1


@pytest.mark.parametrize("begin", ["1", "-1", "0x1", "0o1", "1.", ".1", "1e1"])
def test_a_number_of_more_digits_than_any_is_refused(begin):
    assert isinstance(core_value(begin.ljust(MOST_DIGITS, "1")), int | float)
    with pytest.raises(ValueError, match="a number of 401 characters; expected at most 400"):
        core_value(begin.ljust(MOST_DIGITS + 1, "1"))


written = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("0123456789+-.eExo_:aynNY~", max_size=6)
)


@given(written)
@example("08")
@example("1e5")
@example("0o17")
@example(1e-05)
@example(1e16)
def test_what_the_writer_of_0_1_0_left_bare_has_its_old_value(value):
    """The old writer and reader, both of YAML 1.1, are the reference."""
    text = yaml.safe_dump(value).removesuffix("\n").removesuffix("\n...")
    if text[0] not in "'\"":
        found = written_value(text)
        assert found == value == yaml.safe_load(text) and type(found) is type(value)


@given(st.text("0123456789+-.eExo_:ayntrufls~NY=<", max_size=7))
@example("1e5")
@example("1_000")
@example("y")
def test_a_text_is_written_bare_only_if_both_versions_read_it_as_it_is(text):
    if is_text_for_all(text):
        node = yaml.compose(f"'{text}'")
        assert core_value(text) == text and yaml.SafeLoader("").resolve(type(node), text, (True, False)) == node.tag
    else:
        one = yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False)) != "tag:yaml.org,2002:str"
        assert one or core_value(text) != text or text in ("y", "Y", "n", "N")
