import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.data.known import check_classes, choose_known, holdout_split
from backmix.data.names import split_names
from backmix.errors import DataError

ANIMALS = ["cat", "dog", "Owl", "café"]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (None, [0, 1, 2, 3]),
        (["dog", "cat"], [0, 1]),
        (["2", "0"], [0, 2]),
        ([3, "dog"], [1, 3]),
        ([" dog ", "cafe\u0301"], [1, 3]),
    ],
)
def test_by_name_or_number(known, expected):
    assert choose_known(ANIMALS, known) == expected


def test_a_name_wins_over_a_number():
    classes = ["7", "8", "0"]
    assert choose_known(classes, ["0", "7"]) == [0, 2]
    assert choose_known(classes, ["1", "2"]) == [1, 2]
    assert choose_known(classes, [0, 1]) == [0, 1]


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (["cat", "dgo"], "no class 'dgo'; did you mean 'dog'"),
        (["cat", "owl"], "no class 'owl'; did you mean 'Owl'"),
        (["cat", "rhinoceros"], "no class 'rhinoceros'; the data has 4: cat, dog, Owl, café"),
        (["cat", "4"], "no class number 4; the data has 4, numbered from 0"),
        (["cat", -1], "no class number -1"),
        (["cat", "-1"], "no class '-1'"),
        (["cat", "dog", "cat"], "'cat' is chosen twice"),
        (["cat", "dog", "1"], "'dog' is chosen twice, as 'dog' and '1'"),
        (["cat"], "1 known class chosen; a classifier needs at least two"),
        ([], "0 known classes chosen"),
        (["cat", ""], "no class ''"),
        (["cat", True], "names or numbers; got True"),
        (["cat", 1.0], "names or numbers; got 1.0"),
    ],
)
def test_bad_choices(known, message):
    with pytest.raises(DataError, match=message):
        choose_known(ANIMALS, known)


def test_all_classes_must_be_two_at_least():
    with pytest.raises(DataError, match=r"at least two\. The data has 1: cat"):
        choose_known(["cat"], None)


@given(st.lists(st.integers(-1, 5), max_size=60), st.floats(0.01, 0.99), st.integers(0, 100))
def test_holdout_takes_its_share_of_every_class(labels, share, seed):
    labels = torch.tensor(labels, dtype=torch.int64)
    kept, held = holdout_split(labels, share, torch.Generator().manual_seed(seed))
    assert sorted(kept.tolist() + held.tolist()) == list(range(len(labels)))
    assert kept.tolist() == sorted(kept.tolist()) and held.tolist() == sorted(held.tolist())
    for label in labels.unique():
        total, out = int((labels == label).sum()), int((labels[held] == label).sum())
        assert (out == 0) if total == 1 else (1 <= out <= total - 1)
        assert abs(out - share * total) <= 1


def test_holdout_depends_on_the_generator_alone():
    labels = torch.arange(200) % 4
    splits = [holdout_split(labels, 0.3, torch.Generator().manual_seed(seed))[1].tolist() for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_bad_holdouts():
    generator = torch.Generator()
    for share in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(DataError, match="share must lie between 0 and 1"):
            holdout_split(torch.zeros(4, dtype=torch.int64), share, generator)
    with pytest.raises(DataError, match=r"labels must be \(N,\); got \(2, 2\)"):
        holdout_split(torch.zeros(2, 2, dtype=torch.int64), 0.5, generator)


def test_names_with_commas_and_blanks_can_be_typed():
    classes = ["cat, black", "cat, white", "dog", "trail "]
    assert choose_known(classes, split_names(r"cat\, black,dog")) == [0, 2]
    assert choose_known(classes, split_names("trail ,dog")) == [2, 3]
    with pytest.raises(DataError, match=r"no class 'cat'; a comma .* has a backslash before it: cat\\, black$"):
        choose_known(classes, split_names("cat, black,dog"))
    with pytest.raises(DataError, match=r"the data has 4: cat\\, black, cat\\, white, dog, trail\\ $"):
        choose_known(classes, ["xyz"])
    with pytest.raises(DataError, match="no class 'a'"):
        choose_known(["a ", " a"], ["a"])


def test_classes_are_a_list_of_texts():
    with pytest.raises(DataError, match=r"Give \['cat', 'dog'\]"):
        check_classes("cat,dog")
    with pytest.raises(DataError, match="0, which is of type int"):
        check_classes([0, 1])
