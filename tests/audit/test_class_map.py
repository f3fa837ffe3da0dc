"""Outputs of a model and classes of the data: by name, by number, by range."""

import pytest

from backmix.audit.class_map import match_classes, read_class_map, some
from backmix.errors import DataError

NAMES = [["tench", "Tinca tinca"], ["Egyptian cat"], ["tabby", "tabby cat", "n02123045"], ["wolf_hound"]]


def test_equal_names_are_found_whatever_their_case_and_hyphens():
    found = match_classes(NAMES, ["TABBY CAT", "Wolf-Hound", "bird"])
    assert found.to_data.tolist() == [-1, -1, 0, 1]
    assert found.unmatched == ["bird"] and found.idle == ["tench", "Egyptian cat"]


def test_a_mapping_gives_several_outputs_and_leaves_the_rest_to_names():
    mapping = {"cat": ["egyptian cat", "2"], "fish": ["0-0"]}
    found = match_classes(NAMES, ["cat", "fish", "wolf hound"], mapping)
    assert found.to_data.tolist() == [1, 0, 0, 2] and not found.unmatched and not found.idle


def test_a_name_that_is_a_number_is_a_name_first():
    assert match_classes([["1"], ["0"]], ["a"], {"a": ["1"]}).to_data.tolist() == [0, -1]


def test_several_outputs_of_one_name_stand_for_one_class():
    assert match_classes([["crane"], ["crane"], ["owl"]], ["crane"]).to_data.tolist() == [0, 0, -1]


def test_an_output_in_the_mapping_is_not_taken_by_another_class_of_its_name():
    found = match_classes([["cat"], ["dog"]], ["pet", "cat"], {"pet": ["cat", "dog"]})
    assert found.to_data.tolist() == [0, 0] and found.unmatched == ["cat"]


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"bird": ["0"]}, "no class of the data: cat, fish"),
        ({"cat": ["lion"]}, "'lion', which is no output"),
        ({"cat": ["4"]}, "the model has 4, numbered from 0"),
        ({"cat": ["2-1"]}, "outputs 2-1"),
        ({"cat": ["1"], "fish": ["0-1"]}, "given to two classes, 'cat' and 'fish'"),
    ],
)
def test_a_mapping_that_cannot_be_is_named(mapping, said):
    with pytest.raises(DataError, match=said):
        match_classes(NAMES, ["cat", "fish"], mapping)


def test_a_file_is_read_as_text(tmp_path):
    file = tmp_path / "map.yaml"
    file.write_text("no: 151-268\n7: [1, tabby]\ncat: [tabby]\n")
    assert read_class_map(file) == {"no": ["151-268"], "7": ["1", "tabby"], "cat": ["tabby"]}


@pytest.mark.parametrize("content", ["", "- cat\n", "cat: {a: b}\n", "cat: [[1]]\n", "cat: [1\n", "\xff"])
def test_a_file_without_classes_is_refused_in_one_line(tmp_path, content):
    file = tmp_path / "map.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        read_class_map(file)
    assert "map.yaml" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("cat: 1\ndog: 2\ncat: 3\n", "line 3: found the key 'cat' twice, first in line 1"),
        ("cat: &x 1\ndog: *x\n", "line 1: found '&x', an anchor"),
        ("cat: [1\ndog: 2\n", "line 2: "),
        ("cat: " + "[" * 60, "line 1: found more than 50 lists"),
        ("cat: !!python/name:os.system", "line 1: found the tag"),
    ],
)
def test_what_is_refused_is_said_with_its_line(tmp_path, content, said):
    file = tmp_path / "map.yaml"
    file.write_text(content)
    with pytest.raises(DataError, match="map.yaml cannot be read as YAML: ") as caught:
        read_class_map(file)
    assert said in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_class_map(tmp_path / "none.yaml")


def test_some_names_the_first_and_counts_the_rest():
    assert some(list("abc")) == "a, b, c" and some(list("abcdefghij")) == "a, b, c, d, e, f, g, h and 2 more"
    assert some(["a\nb", "c\u202ed"]) == "a\\nb, c\\u202ed"
