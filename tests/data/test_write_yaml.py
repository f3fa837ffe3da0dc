"""YAML that is written, read again by ours, by PyYAML's two parsers, and by YAML 1.1."""

import math

import pytest
import yaml
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backmix.data.plain_yaml import read_yaml
from backmix.data.write_yaml import as_yaml
from backmix.data.yaml_scalars import written_value

words = st.sampled_from(
    ["1e5", "0o17", "08", "yes", "y", "1:30", "1_000", "2024-01-01", "~", "", ".inf", "<<", "=", "-", "#"]
)
texts = words | st.text(max_size=12) | st.text("a:-#'\"\\,[]{}&*!|>%@` \n\t\x85\u2028\ufeff", max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
contents = st.recursive(
    scalars, lambda of: st.lists(of, max_size=4) | st.dictionaries(texts, of, max_size=4), max_leaves=12
)


@examples(max_examples=50)
@given(contents)
@example({"\x85": "a\u2028b"})
@example("\udcff\ufeff")
@example({"1e5": ["08", 1e-05, 1e16, -0.0]})
@example(["a b " * 60, "a\nb " * 60, {"k" * 200: 1}])
def test_what_is_written_comes_back(content):
    for text in (as_yaml(content), as_yaml(content, in_one_line=True)):
        assert read_yaml(text) == content == read_yaml(text, written_value)
        assert yaml.safe_load(text) == content  # YAML 1.1.
    assert len(text.splitlines()) == 1


@examples(max_examples=50)
@given(contents)
def test_what_the_old_writer_wrote_comes_back(content):
    same = {"a": content, "b": content}
    text = yaml.dump(same, Dumper=WithoutReferences, sort_keys=False)
    assert read_yaml(text, written_value) == same == yaml.safe_load(text)


class WithoutReferences(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


@pytest.mark.parametrize(
    ("content", "written"),
    [
        ({"b": 1, "a": (1, 2)}, "b: 1\na:\n- 1\n- 2\n"),
        ({"data": "/home/größer/photos", "lr": 1e-05}, "data: /home/größer/photos\nlr: 1.0e-05\n"),
        (["1e5", "08", "no", "y", "a"], "- '1e5'\n- '08'\n- 'no'\n- 'y'\n- a\n"),
        (["a\nb", "\x85", "\ufeff"], '- "a\\nb"\n- "\\N"\n- "\\uFEFF"\n'),
        ([math.inf, -math.inf, None, True], "- .inf\n- -.inf\n- null\n- true\n"),
    ],
)
def test_known_texts(content, written):
    assert as_yaml(content) == written


def test_one_object_at_two_places_is_written_twice():
    same = [1, {"a": 2}]
    text = as_yaml({"a": same, "b": [same, same]})
    assert "&" not in text and read_yaml(text) == {"a": same, "b": [same, same]}


@pytest.mark.parametrize("content", [object(), {"a": {1, 2}}, {"a": b"x"}, {"a": 1j}])
def test_what_is_not_plain_is_refused_or_not_read(content):
    with pytest.raises((yaml.YAMLError, ValueError)):
        read_yaml(as_yaml(content))
