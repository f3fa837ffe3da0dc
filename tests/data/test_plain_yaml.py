"""YAML from anywhere: the limits stop it, both parsers agree, and the message says line, what was found and what to do.

The texts here are harmless for any parser; they are only beyond our limits.
"""

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from backmix.data import plain_yaml
from backmix.data.plain_yaml import LIMITS, PYTHON_LIMITS, YamlError, read_yaml, yaml_text
from backmix.data.yaml_scalars import text_of

PARSERS = {"libyaml": (yaml.CSafeLoader, LIMITS), "python": (yaml.SafeLoader, PYTHON_LIMITS)}


@pytest.fixture(params=PARSERS)
def limits(request, monkeypatch):
    """The limits of a parser, which is the one that reads."""
    monkeypatch.setattr(plain_yaml, "_parser", lambda text: PARSERS[request.param])
    return PARSERS[request.param][1]


@pytest.fixture
def events(monkeypatch):
    """A list of the kinds of the events that the parser gave."""
    seen, parse = [], yaml.parse

    def counted(*given, **named):
        for event in parse(*given, **named):
            seen.append(type(event))
            yield event

    monkeypatch.setattr(yaml, "parse", counted)
    return seen


def fill(unit, size, begin="", end=""):
    """Units and blanks between a begin and an end, of exactly `size` bytes."""
    room = size - len((begin + end).encode())
    times, rest = divmod(room, len(unit.encode()))
    return begin + unit * times + " " * rest + end


MANY = {
    "list": "- a\n",
    "empty entries": "-\n",
    "lists": "- - -\n",
    "literals": "- |\n",
    "literals of a line": "- |\n  a\n",
    "dictionaries": "- a: 1\n  b: 2\n",
    "lists in a line": "- " * 40 + "\n",
    "tags": "- !!str a\n",
    "quoted": "- 'a'\n",
    "brackets": "- [[[[]]]]\n",
    "braces": "- {a: {b: c}}\n",
    "pairs": "- [a: 1, b: 2]\n",
    "nested deeply": "- " + "[" * 45 + "]" * 45 + "\n",
}


@pytest.mark.parametrize("kind", MANY)
def test_reading_stops_at_the_number_of_values(limits, events, kind):
    with pytest.raises(YamlError, match=rf"^line \d+: found more than {limits.nodes:,} values; expected fewer\. Keep"):
        read_yaml(fill(MANY[kind], limits.size))
    assert sum(issubclass(kind, yaml.NodeEvent) for kind in events) == limits.nodes + 1
    assert len(events) <= 2 * limits.nodes + 3


@pytest.mark.parametrize("unit", ["{},", "a,", "a: 1,", "'',", "[a: 1],"])
def test_reading_stops_at_the_number_of_values_in_one_line(limits, events, unit):
    with pytest.raises(YamlError, match=f"^line 1: found more than {limits.nodes:,} values"):
        read_yaml(fill(unit, limits.size, "[", "]"))
    assert sum(issubclass(kind, yaml.NodeEvent) for kind in events) == limits.nodes + 1


def test_reading_stops_at_the_number_of_different_keys(limits, events):
    with pytest.raises(YamlError, match=f"^line {limits.nodes // 2}: found more than {limits.nodes:,} values"):
        read_yaml("".join(f"k{key}:\n" for key in range(limits.nodes)))
    assert len(events) <= limits.nodes + 3


@pytest.mark.parametrize(
    "unit", ["[", "[\n", "{a: ", "{a: \n", "- ", "[a: ", "- a:\n  ", "[{a: "], ids=lambda unit: repr(unit)
)
def test_reading_stops_at_the_depth(limits, events, unit):
    text = unit * 300
    if unit == "- a:\n  ":
        text = "".join("  " * depth + "- a:\n" for depth in range(0, 300))
    with pytest.raises(YamlError, match=r"^line \d+: found more than 50 lists and dictionaries in one "):
        read_yaml(text)
    assert sum(issubclass(kind, yaml.CollectionStartEvent) for kind in events) == limits.depth + 1
    assert len(events) <= 2 * limits.depth + 4


ONE = {
    "a word": fill("a", 200),
    "words": fill("a ", 200) + "a",
    "blank lines in a text": "a" + "\n" * 200 + "a",
    "a comment": "#" * 200,
    "comments": "#\n" * 200,
    "blanks": " " * 200,
    "line breaks": "\r\n" * 200,
    "quotes": fill("''", 200, "'", "'"),
    "escapes": fill("\\x41", 200, '"', '"'),
    "lines in quotes": fill("a\n", 200, "'", "'"),
    "a literal": fill(" a\n", 200, "|\n"),
    "blank lines of a literal": fill("\n", 200, "|\n"),
    "a folded text": fill("  a\n a\n", 200, ">\n a\n"),
    "ends of documents": "a\n" + "...\n" * 50,
}


@pytest.mark.parametrize("kind", ONE)
def test_what_is_one_value_or_none_is_read_in_few_events_up_to_the_largest_size(limits, events, kind):
    text = ONE[kind]
    half = text[: len(text) // 2]
    grown = half + text[len(text) // 2] * (limits.size - len(text)) + text[len(text) // 2 :]
    assert len(grown.encode()) == limits.size
    found = read_yaml(grown)
    assert (found is None or isinstance(found, str)) and len(events) <= 6
    with pytest.raises(YamlError, match=f"^found more than {limits.size // 1024:,} KiB; expected less"):
        read_yaml(grown + " ")


REFUSED = {
    "a: 1\nb: &x 1\n": "line 2: found '&x', an anchor; expected a value. Write the value itself.",
    "a: *x\n": "line 1: found '*x', a reference; expected a value. Write the value itself.",
    "&x [1]": "line 1: found '&x', an anchor",
    "a: 1\nb: 2\n'a': 3\n": "line 3: found the key 'a' twice, first in line 1; expected it once. Leave one",
    "a:\n  b: 1\n  b: 1\n": "line 3: found the key 'b' twice, first in line 2",
    "1: a\n": "line 1: found the key '1', which is read as a number; expected a name. Write it in quotes if it is one.",
    "a: 1\n1e5: a\n": "line 2: found the key '1e5', which is read as a number",
    "true: a\n": "line 1: found the key 'true', which is read as a truth value",
    "? \n: a\n": "line 1: found the key '', which is read as null",
    "? [a, b]\n: 1\n": "line 1: found a list or a dictionary as a key; expected a name.",
    "{{a: 1}: 1}": "line 1: found a list or a dictionary as a key",
    "? ? a\n": "line 1: found a list or a dictionary as a key",
    "a: 1\n---\nb: 1\n": "line 2: found a second document (---); expected one. Leave the others out.",
    "--- a\n---\n": "line 2: found a second document",
    "%YAML 1.2\n---\na: 1\n": "line 1: found a line that begins with %, a directive; expected settings",
    "\n# x\n%TAG !a! b\n---\na: 1\n": "line 3: found a line that begins with %",
    "a\n...\n%TAG !a! b\n--- c\n": "line 3: found a line that begins with %",
    "\ufeff%X\n--- a\n": "line 1: found a line that begins with %",
    "a: !x 1\n": "line 1: found the tag '!x'; expected a text, a number, true, false, null, a list or a dictionary.",
    "a: ! 1\n": "line 1: found the tag '!'",
    "!!python/object/new:type [x]": "line 1: found the tag 'tag:yaml.org,2002:python/object/new:type'",
    "!!set {a}": "line 1: found the tag 'tag:yaml.org,2002:set'",
    "!!map [a]": "line 1: found the tag 'tag:yaml.org,2002:map'",
    "!!seq a": "line 1: found the tag 'tag:yaml.org,2002:seq'",
    "!!int ''": "line 1: found '', which is no !!int. Leave !!int out.",
    "\n!!bool maybe": "line 2: found 'maybe', which is no !!bool",
    "!!int 1.5": "line 1: found '1.5', which is no !!int",
    "!!int true": "line 1: found 'true', which is no !!int",
    "a: " + "1" * 401: "line 1: found a number of 401 characters; expected at most 400. Write it in quotes",
    "a: 1\n\tb: 2\n": "line 2: ",
    "a: [1\nb: 2\n": "line 2: ",
    "a: 'x": "line 1: ",
    "a: b: c": "line 1: mapping values are not allowed ",
    "a: 1\r\n\x07": "line 2: found the character U+0007, which YAML does not allow.",
    "a\udcff": "line 1: found the character U+DCFF",
    '"\\UFFFFFFFF"': "",
    '"\\q"': "line 1: ",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_is_said_with_its_line(limits, text):
    with pytest.raises(YamlError) as caught:
        read_yaml(text)
    assert str(caught.value).startswith(REFUSED[text]) and len(str(caught.value)) < 400
    assert str(caught.value).endswith(".")


READ = {
    "": None,
    "# only a comment\n": None,
    "\ufeffa: 1": {"a": 1},
    "---\na: 1\n...\n": {"a": 1},
    "a: 1\n...\n...\n": {"a": 1},
    "a: yes\nb: 1_000\nc: 1:30\nd: 2024-01-01\ne: 1e-1\nf: 0o17\n": {
        **{"a": "yes", "b": "1_000", "c": "1:30", "d": "2024-01-01", "e": 0.1, "f": 15},
    },
    "'1e5': '1e5'": {"1e5": "1e5"},
    "<<: {a: 1}": {"<<": {"a": 1}},
    "a:\n- 1\n-\n- {b: [c, ~]}\n": {"a": [1, None, {"b": ["c", None]}]},
    "a: {}\nb: []\nc:\n": {"a": {}, "b": [], "c": None},
    "!!str 1": "1",
    "!!float 1": 1.0,
    "!!int '0x1f'": 31,
    "[!!null '', !!bool 'true', !!float '.inf']": [None, True, float("inf")],
    "!!map {a: !!seq [1]}": {"a": [1]},
    "a: |\n  x\n   y\nb: >\n  x\n  y\n": {"a": "x\n y\n", "b": "x y\n"},
    "a: x\n  y": {"a": "x y"},
    "[" * 50 + "]" * 50: "deep",
}


@pytest.mark.parametrize("text", READ)
def test_what_is_read(limits, text):
    found = read_yaml(text)
    if READ[text] == "deep":
        assert repr(found) == text
    else:
        assert found == READ[text] and type(found) is type(READ[text])


def test_all_values_as_text(limits):
    assert read_yaml("no: 151-268\n7: [1, ~, true]\n~: ''\n", text_of) == {
        "no": ["151-268"][0],
        "7": ["1", "~", "true"],
        "~": "",
    }


texts = st.text("ab1:-#'\"\\,[]{}!|>%.~ \n", max_size=30) | st.text(max_size=30)


@given(texts)
def test_any_text_is_read_or_refused_in_words(text):
    for parser in PARSERS.values():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plain_yaml, "_parser", lambda text, parser=parser: parser)
            try:
                read_yaml(text)
            except YamlError as error:
                assert str(error)


contents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda of: st.lists(of, max_size=4) | st.dictionaries(st.text(max_size=8), of, max_size=4),
    max_leaves=12,
)


@given(contents, st.sampled_from([None, "'", '"', "|", ">"]), st.booleans())
def test_both_parsers_read_the_same(content, style, flow):
    text = yaml.safe_dump(content, default_style=style, default_flow_style=flow)
    if "&" in re.sub(r"'[^']*'|\"[^\"]*\"", "", text):
        text = yaml.safe_dump(content, default_flow_style=flow).replace("&", "")
    found = []
    for parser in PARSERS.values():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plain_yaml, "_parser", lambda text, parser=parser: parser)
            try:
                found.append(read_yaml(text))
            except YamlError:
                found.append(YamlError)
    assert found[0] == found[1]


def test_half_characters_of_names_that_are_not_utf_8_are_read_by_the_slow_parser(monkeypatch):
    assert read_yaml('data: "photos-\\uDCFF"') == {"data": "photos-\udcff"}
    with pytest.raises(YamlError, match="More is read where PyYAML has libyaml and all names are UTF-8"):
        read_yaml('- "\\uDCFF"\n' + "- a\n" * PYTHON_LIMITS.nodes)
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert read_yaml("a: 1") == {"a": 1}
    with pytest.raises(YamlError, match=f"more than {PYTHON_LIMITS.nodes:,} values"):
        read_yaml("- a\n" * (PYTHON_LIMITS.nodes + 1))


def test_a_list_of_all_classes_of_imagenet_21k_is_read():
    names = [f"a class of ImageNet, number {number}" for number in range(21_841)]
    assert read_yaml(yaml.dump({"known-classes": names}, Dumper=yaml.CSafeDumper)) == {"known-classes": names}


def test_files(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 08\r\nb: \xc3\xa9\r\n")
    assert yaml_text(path) == "a: 08\r\nb: é\r\n" and read_yaml(yaml_text(path)) == {"a": 8, "b": "é"}
    path.write_bytes(b"a" * LIMITS.size)
    assert len(yaml_text(path)) == LIMITS.size
    path.write_bytes(b"a" * (LIMITS.size + 1))
    with pytest.raises(YamlError, match="^found more than 1,024 KiB; expected less"):
        yaml_text(path)
    path.write_bytes("a: 1\nb: é\n".encode("latin-1"))
    with pytest.raises(YamlError, match="^line 2: found bytes that are not UTF-8. Save the file as UTF-8"):
        yaml_text(path)
    path.write_bytes("a: 1\n".encode("utf-16"))
    with pytest.raises(YamlError, match="not UTF-8"):
        yaml_text(path)
    with pytest.raises(OSError):
        yaml_text(tmp_path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(YamlError, match="found more than 1,024 KiB"):
        yaml_text(path)
