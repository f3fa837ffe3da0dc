import pytest

from backmix.benchmark.class_names import canonical_names, match_names, words

COUNTS = {
    "mnist": 10,
    "svhn": 10,
    "cifar10": 10,
    "cifar100": 100,
    "tiny-imagenet": 200,
    "cub": 200,
    "stanford-cars": 196,
    "fgvc-aircraft": 100,
    "imagenet-1k": 1000,
    "dtd": 47,
    "dtd-part": 10,
    "intel-scenes": 6,
}


@pytest.mark.parametrize("data", COUNTS)
def test_every_name_stands_for_its_own_class(data):
    names = canonical_names(data)
    assert len(names) == len(set(names)) == COUNTS[data]
    assert match_names(names, data, names) == list(range(len(names)))
    backwards = names[::-1]
    assert match_names(backwards, data, names) == list(range(len(names)))[::-1]


def test_orders_that_are_known():
    assert canonical_names("cifar10")[9] == "truck" and canonical_names("cifar100")[:2] == ("apple", "aquarium_fish")
    for data in ("cifar100", "tiny-imagenet", "imagenet-1k", "fgvc-aircraft", "dtd"):
        assert list(canonical_names(data)) == sorted(canonical_names(data))
    # Not alphabetical: in the order of the release.
    assert canonical_names("stanford-cars")[4:6] == ("Acura TSX Sedan 2012", "Acura Integra Type R 2001")
    assert (
        canonical_names("cub")[0] == "Black_footed_Albatross" and canonical_names("cub")[199] == "Common_Yellowthroat"
    )
    assert set(canonical_names("tiny-imagenet")) < set(canonical_names("imagenet-1k"))
    assert canonical_names("dtd-part") == canonical_names("dtd")[:10]


@pytest.mark.parametrize(
    ("data", "found", "canonical"),
    [
        ("cub", "001.Black_footed_Albatross", "Black_footed_Albatross"),
        ("cub", "black footed albatross", "Black_footed_Albatross"),
        ("stanford-cars", "Ram C_V Cargo Van Minivan 2012", "Ram C/V Cargo Van Minivan 2012"),
        ("stanford-cars", "0001_AM_General_Hummer_SUV_2000", "AM General Hummer SUV 2000"),
        ("fgvc-aircraft", "F-16A_B", "F-16A/B"),
        ("fgvc-aircraft", "F-A-18", "F/A-18"),
        ("cifar100", "cra", "crab"),
        ("cifar100", "crab", "crab"),
        ("tiny-imagenet", "goldfish, Carassius auratus", "n01443537"),
        ("tiny-imagenet", "European fire salamander", "n01629819"),
        ("tiny-imagenet", "crane", "n03126707"),
        ("imagenet-1k", "tench, Tinca tinca", "n01440764"),
        ("imagenet-1k", "crane", "n02012849"),
        ("imagenet-1k", "crane2", "n03126707"),
        ("imagenet-1k", "maillot", "n03710637"),
        ("imagenet-1k", "maillot, tank suit", "n03710721"),
    ],
)
def test_other_spellings(data, found, canonical):
    names = canonical_names(data)
    assert match_names([found], data, names) == [names.index(canonical)]


def test_names_of_nothing():
    names = canonical_names("cifar10")
    assert match_names(["airplane", "zebra", ""], "cifar10", names) == [0, None, None]
    assert match_names(["n00000000", "no such thing"], "tiny-imagenet", canonical_names("tiny-imagenet")) == [
        None,
        None,
    ]


def test_numbers_count_only_where_they_are_all_there():
    names = canonical_names("cifar10")
    assert match_names([str(i) for i in range(10)], "cifar10", names) == list(range(10))
    assert match_names([str(i) for i in range(9)], "cifar10", names) == [None] * 9
    assert match_names([str(i) for i in range(1, 11)], "cifar10", names) == [None] * 10
    assert match_names([str(i) for i in range(11)], "cifar10", names) == [None] * 11
    # Where digits are the names, they are names.
    assert match_names(["3", "1"], "mnist", canonical_names("mnist")) == [3, 1]


def test_words():
    assert words("tiny-imagenet")["n01443537"] == "goldfish" and len(words("tiny-imagenet")) == 200
    assert words("cifar10") == {}
    with pytest.raises(KeyError):
        canonical_names("letters")
