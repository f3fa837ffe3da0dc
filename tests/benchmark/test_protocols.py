import pytest

from backmix.benchmark.named_data import DATA
from backmix.benchmark.protocols import PROTOCOLS, find_protocol
from backmix.benchmark.splits import split_lists
from backmix.errors import DataError

ALL = [
    trial
    for protocol in PROTOCOLS.values()
    for split_list in protocol.split_lists
    for trial in protocol.trials(split_list).values()
]
BY_TITLE = {trial.title: trial for trial in ALL}

# Known, unknown, openness and revised openness in percent, images for training, of known and of unknown classes in the
# test, as printed with these protocols.
SIZES = {
    "cifar10": (6, 4, 13.40, 22.54, 30_000, 6000, 4000),
    "cifar+10": (4, 10, 33.33, 46.55, 20_000, 4000, 1000),
    "cifar+50": (4, 50, 62.86, 72.78, 20_000, 4000, 5000),
    "tiny-imagenet": (20, 180, 57.36, 68.38, 10_000, 1000, 9000),
}


@pytest.mark.parametrize("name", SIZES)
def test_numbers_of_classes_and_images(name):
    known, unknown, openness, revised, train, test, others = SIZES[name]
    protocol = PROTOCOLS[name]
    for split_list in protocol.split_lists:
        assert list(protocol.trials(split_list)) == ["a", "b", "c", "d", "e"]
        for trial in protocol.trials(split_list).values():
            (part,) = trial.unknown.values()
            assert (len(trial.train.classes), len(part.classes)) == (known, unknown)
            assert round(100 * trial.openness, 2) == openness
            assert round(100 * trial.revised_openness, 2) == revised
            assert (trial.train_images, trial.known.images, part.images) == (train, test, others)
            assert trial.image_size == protocol.image_size == (64 if name == "tiny-imagenet" else 32)


@pytest.mark.parametrize("trial", ALL, ids=lambda trial: trial.title)
def test_no_unknown_class_is_known(trial):
    for part in [trial.train, trial.known, *trial.unknown.values()]:
        if part.data in DATA:
            assert part.split in DATA[part.data].splits and set(part.classes) <= set(DATA[part.data].classes)
    assert trial.train.classes == trial.known.classes
    assert (trial.train.data, trial.train.split) != (trial.known.data, trial.known.split)
    for part in trial.unknown.values():
        if part.data == trial.train.data:
            assert not set(part.classes) & set(trial.train.classes) and part.split == trial.known.split


def test_within_one_data_set_every_other_class_is_unknown():
    for name in ("mnist", "svhn", "cifar10", "tiny-imagenet"):
        for split_list in PROTOCOLS[name].split_lists:
            for trial in PROTOCOLS[name].trials(split_list).values():
                assert sorted(trial.train.classes + trial.unknown["unknown"].classes) == sorted(DATA[name].classes)


# So that nobody changes by accident what a printed fingerprint stands for.
@pytest.mark.parametrize(
    ("title", "fingerprint"),
    [
        ("cifar10/cssr/a", "339bc5758eef"),
        ("cifar10/arpl/a", "4cde347f161e"),
        ("mnist/neal/a", "92f845b67c8c"),
        ("svhn/f1/c", "6029cc7f6fb4"),
        ("cifar+10/neal/a", "f3b1bee3c7f2"),
        ("cifar+50/arpl/e", "c8b27ffbe7d2"),
        ("tiny-imagenet/cssr/a", "c1cbbf68ce3a"),
        ("cifar10-ood/a", "0cfe9d741782"),
        ("cub/a", "063adf5c4b2e"),
        ("stanford-cars/a", "0fbc999d2058"),
        ("fgvc-aircraft/a", "44ee031a5b6a"),
        ("imagenet-1k/a", "d991db5e35c8"),
        ("digits/a", "29c5baab1125"),
    ],
)
def test_fingerprints(title, fingerprint):
    assert BY_TITLE[title].fingerprint == fingerprint


def test_labels_follow_the_order_of_the_list():
    arpl = BY_TITLE["cifar10/arpl/a"].train.classes
    assert arpl == ("airplane", "frog", "deer", "truck", "automobile", "horse")
    cssr = BY_TITLE["cifar10/cssr/a"].train.classes
    assert cssr == ("bird", "cat", "deer", "dog", "frog", "horse") == DATA["cifar10"].classes[2:8]
    for name in ("svhn", "cifar10", "tiny-imagenet"):
        for trial in PROTOCOLS[name].trials("cssr").values():
            places = [DATA[name].classes.index(of_class) for of_class in trial.train.classes]
            assert places == sorted(places)


def test_what_repeats_is_said():
    once = "trials a, b are of the same classes, so they count for one"
    for title in ("cifar10/arpl/a", "cifar10/arpl/b", "svhn/arpl/a", "svhn/arpl/b"):
        assert f"{title.split('/')[0]} arpl: {once}" in BY_TITLE[title].notes
    repeated = [trial.title for trial in ALL if any(note.endswith("so they count for one") for note in trial.notes)]
    assert len(repeated) == 4
    for split_list in ("neal", "f1"):
        for trial in PROTOCOLS["tiny-imagenet"].trials(split_list).values():
            assert trial.notes == ("tiny-imagenet: the lists neal and f1 hold the same trials",)
        assert "have the same known classes" in BY_TITLE[f"cifar+10/{split_list}/c"].notes[0]
    assert BY_TITLE["cifar10/cssr/b"].notes == ("cifar10: of the same classes are the trials c of f1, b of cssr",)
    assert BY_TITLE["cifar10/cssr/a"].notes == BY_TITLE["tiny-imagenet/cssr/a"].notes == ()
    assert BY_TITLE["tiny-imagenet/neal/a"].fingerprint == BY_TITLE["tiny-imagenet/f1/a"].fingerprint


def test_every_two_trials_of_one_protocol_that_are_equal_are_said_to_be():
    for trial in ALL:
        for other in ALL:
            if trial.title < other.title and trial.fingerprint == other.fingerprint:
                assert trial.protocol == other.protocol
                assert set(trial.notes) & set(other.notes), (trial.title, other.title)


def test_other_data_sets():
    trial = BY_TITLE["cifar10-ood/a"]
    assert trial.train.classes == DATA["cifar10"].classes and trial.train_images == 50_000
    assert {name: part.images for name, part in trial.unknown.items()} == {
        "cifar100": 10_000,
        "svhn": 26_032,
        "tiny-imagenet": 10_000,
        "dtd": 1880,
        "dtd-part": 400,
        "intel-scenes": 300,
        "mnist": 10_000,
    }
    (overlap,) = [note for note in trial.notes if "show what CIFAR-10 knows" in note]
    assert overlap.startswith("23 of 200 classes of tiny-imagenet") and "frog: bullfrog, tailed frog" in overlap


@pytest.mark.parametrize(
    ("name", "split", "known", "easy", "hard"),
    [
        ("cub", "train", 100, 32, 68),
        ("stanford-cars", "train", 98, 76, 22),
        ("fgvc-aircraft", "trainval", 50, 20, 30),
    ],
)
def test_semantic_shift_benchmark(name, split, known, easy, hard):
    trial = PROTOCOLS[name].trials()["a"]
    assert (trial.train.split, trial.known.split, trial.image_size) == (split, "test", 448)
    assert [len(part.classes) for part in (trial.known, *trial.unknown.values())] == [known, easy, hard]
    lists = split_lists(name)
    expected = [DATA[name].classes[number] for number in lists["medium"] + lists["hard"]]
    assert list(trial.unknown) == ["easy", "hard"] and list(trial.unknown["hard"].classes) == expected


def test_known_pairs_of_the_semantic_shift_benchmark():
    """Unknown classes and the known ones that they are close to, so names and numbers belong together."""
    aircraft = PROTOCOLS["fgvc-aircraft"].trials()["a"]
    assert {"737-200", "737-500", "747-100"} <= set(aircraft.known.classes)
    assert {"737-600", "737-900", "747-300"} <= set(aircraft.unknown["hard"].classes)
    for name in ("cub", "fgvc-aircraft"):
        trial, names = PROTOCOLS[name].trials()["a"], DATA[name].classes
        for known, unknown in split_lists(name)["pairs"]["hard"]:
            for number in known if isinstance(known, list) else [known]:
                assert names[number] in trial.known.classes
            for number in unknown if isinstance(unknown, list) else [unknown]:
                assert names[number] in trial.unknown["hard"].classes
    cub = split_lists("cub")["pairs"]["hard"]
    birds = DATA["cub"].classes
    assert (birds[cub[0][0]], birds[cub[0][1]]) == ("American_Crow", "Fish_Crow")


def test_imagenet():
    trial = PROTOCOLS["imagenet-1k"].trials()["a"]
    assert (trial.known.images, trial.train_images, trial.image_size) == (50_000, 1_281_167, 224)
    assert {name: part.images for name, part in trial.unknown.items()} == {
        "easy": 50_000,
        "hard": 49_000,
        "inaturalist": 10_000,
    }


# --- the embedded digits


def test_digits():
    trial = find_protocol("digits").trials()["a"]
    assert trial.train.classes == tuple("012345") and trial.unknown["unknown"].classes == tuple("6789")
    assert trial.train.data == "digits:known=012345" and trial.image_size == 32
    neal = find_protocol("digits").trials("neal")
    assert list(neal) == ["a", "b", "c", "d", "e"]
    assert neal["d"].train.classes == tuple("345789") and neal["d"].train.data == "digits:known=345789"


def test_options_of_the_digits_have_one_spelling():
    protocol = find_protocol("digits: seed=0, prior=0.50,image_size=48")
    assert protocol.name == "digits:image_size=48,prior=0.5"
    trial = protocol.trials()["a"]
    assert trial.protocol == protocol.name and trial.image_size == protocol.image_size == 48
    assert trial == find_protocol(protocol.name).trials()["a"]
    assert trial.fingerprint != find_protocol("digits").trials()["a"].fingerprint
    usual = find_protocol("digits:prior=0.8").trials()["a"]
    assert usual == find_protocol("digits").trials()["a"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits:rate=1", "no option 'rate'"),
        ("digits:prior=2", "prior is a rate"),
        ("digits:known=012", "for the trials of the protocol to say"),
        ("cifar-10", r"there is no protocol 'cifar-10'; there are mnist, .*did you mean cifar10 or cifar\+10"),
        ("imagenet", "there is no protocol 'imagenet'"),
        ("", "there is no protocol ''"),
    ],
)
def test_protocols_that_do_not_exist(name, message):
    with pytest.raises(DataError, match=message):
        find_protocol(name)


def test_lists_that_do_not_exist():
    with pytest.raises(DataError, match="mnist has the split lists arpl, neal, f1; got 'cssr'"):
        PROTOCOLS["mnist"].trials("cssr")
    with pytest.raises(DataError, match="cub has one list of classes"):
        PROTOCOLS["cub"].trials("neal")
    assert {name: protocol.default_list for name, protocol in PROTOCOLS.items()} == {
        "mnist": "neal",
        "svhn": "cssr",
        "cifar10": "cssr",
        "cifar+10": "neal",
        "cifar+50": "neal",
        "tiny-imagenet": "cssr",
        "cifar10-ood": "",
        "cub": "",
        "stanford-cars": "",
        "fgvc-aircraft": "",
        "imagenet-1k": "",
        "digits": "",
    }
