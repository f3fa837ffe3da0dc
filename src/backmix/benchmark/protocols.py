"""The protocols of the open-set tables by name, each with its trials.

The trials of a list are named a, b, c, d, e in the order in which the list was published.
"""

from __future__ import annotations

from collections.abc import Sequence

from backmix.benchmark.class_names import words
from backmix.benchmark.named_data import DATA, similar
from backmix.benchmark.protocol import Protocol
from backmix.benchmark.splits import about, overlap, split_lists
from backmix.benchmark.trial import Trial, TrialPart
from backmix.data.digits import CLASSES, DEFAULT_KNOWN, DigitsOnTextures
from backmix.data.load import load_source, recorded
from backmix.errors import DataError

__all__ = ["PROTOCOLS", "Protocol", "Trial", "TrialPart", "find_protocol"]

_OOD_SETS = {
    "cifar100": "test",
    "svhn": "test",
    "tiny-imagenet": "val",
    "dtd": "test",
    "dtd-part": "test",
    "intel-scenes": "test",
    "mnist": "test",
}
_RESIZED = (
    "images that are no 32 pixels wide are brought to that size, which leaves traces by which a network can tell them "
    "from CIFAR-10; figures are not comparable with those on archives made for this comparison"
)


def find_protocol(name: str) -> Protocol:
    """Look up a protocol by name.

    Args:
        name: One of `PROTOCOLS`. "digits" takes options of `DigitsOnTextures`, as in "digits:prior=0.5".

    Raises:
        DataError: If there is no protocol of that name, or if an option is wrong.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if name.partition(":")[0] == "digits":
        return _digits_with_options(name)
    raise DataError(f"there is no protocol {name!r}; there are {', '.join(PROTOCOLS)}{similar(name, PROTOCOLS)}")


def _classes(data: str, numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(DATA[data].classes[number] for number in numbers)


def _all_but(data: str, known: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in DATA[data].classes if name not in known)


def _letter(number: int) -> str:
    return chr(ord("a") + number)


def _within(name: str, image_size: int, test: str = "test") -> Protocol:
    """Make a protocol in which some classes of a data set are known and its other classes are unknown."""
    lists = split_lists(name)

    def build(split_list: str) -> list[Trial]:
        trials = []
        for number, numbers in enumerate(lists[split_list]):
            known = _classes(name, numbers)
            unknown = {"unknown": TrialPart(name, test, _all_but(name, known))}
            train, tested = TrialPart(name, "train", known), TrialPart(name, test, known)
            trials.append(Trial(name, split_list, _letter(number), train, tested, unknown, image_size))
        return trials

    return Protocol(name, image_size, {split_list: about(split_list) for split_list in lists}, build)


def _cifar_plus(name: str) -> Protocol:
    """Make a protocol in which four classes of CIFAR-10 are known and some classes of CIFAR-100 are unknown."""
    lists = split_lists(name)

    def build(split_list: str) -> list[Trial]:
        trials = []
        for number, numbers in enumerate(lists[split_list]):
            known = _classes("cifar10", numbers["known"])
            unknown = {"cifar100": TrialPart("cifar100", "test", _classes("cifar100", numbers["unknown"]))}
            train, tested = TrialPart("cifar10", "train", known), TrialPart("cifar10", "test", known)
            trials.append(Trial(name, split_list, _letter(number), train, tested, unknown, 32))
        return trials

    return Protocol(name, 32, {split_list: about(split_list) for split_list in lists}, build)


def _fine_grained(name: str, train: str = "train") -> Protocol:
    """Make a protocol of the Semantic Shift Benchmark.

    Half the classes of a fine-grained data set are known. The rest is unknown, in sets by its closeness to the known.
    """
    lists = split_lists(name)
    known = _classes(name, lists["known"])
    unknown = {
        "easy": TrialPart(name, "test", _classes(name, lists["easy"])),
        "hard": TrialPart(name, "test", _classes(name, [*lists["medium"], *lists["hard"]])),
    }
    trial = Trial(name, "", "a", TrialPart(name, train, known), TrialPart(name, "test", known), unknown, 448)
    return Protocol(name, 448, {"": about("ssb")}, lambda _: [trial])


def _imagenet() -> Protocol:
    lists = split_lists("imagenet-1k")["winter21"]
    known = DATA["imagenet-1k"].classes
    unknown = {name: TrialPart("imagenet-21k-p", "val", tuple(lists[name])) for name in ("easy", "hard")}
    unknown["inaturalist"] = TrialPart("inaturalist-ood", "test", DATA["inaturalist-ood"].classes)
    train, test = TrialPart("imagenet-1k", "train", known), TrialPart("imagenet-1k", "val", known)
    trial = Trial("imagenet-1k", "", "a", train, test, unknown, 224)
    return Protocol("imagenet-1k", 224, {"": about("imagenet-1k")}, lambda _: [trial])


def _cifar10_ood() -> Protocol:
    known = DATA["cifar10"].classes
    unknown = {name: TrialPart(name, split, DATA[name].classes) for name, split in _OOD_SETS.items()}
    notes = [
        f"dtd-part and intel-scenes are parts of larger sets ({unknown['dtd-part'].images} and "
        f"{unknown['intel-scenes'].images} images), and dtd-part is part of dtd",
        _RESIZED,
    ]
    for name in _OOD_SETS:
        if shown := overlap("cifar10", name):
            named = words(name)
            same = "; ".join(f"{of}: {', '.join(named.get(c, c) for c in found)}" for of, found in shown.items())
            count = sum(len(found) for found in shown.values())
            notes.append(f"{count} of {len(unknown[name].classes)} classes of {name} show what CIFAR-10 knows ({same})")
    train, test = TrialPart("cifar10", "train", known), TrialPart("cifar10", "test", known)
    trial = Trial("cifar10-ood", "", "a", train, test, unknown, 32, tuple(notes))
    where = "All classes of CIFAR-10 against the test images of other data sets."
    return Protocol("cifar10-ood", 32, {"": where}, lambda _: [trial])


def _digits(image_size: int = 32, options: Sequence[str] = ()) -> Protocol:
    """Make the protocol of the embedded digits.

    Its own trial has the known classes 0 to 5. The list neal has the known classes of the MNIST list of that name. The
    known classes of a trial are the classes that have a texture of their own.
    """
    title = f"digits:{','.join(options)}" if options else "digits"

    def build(split_list: str) -> list[Trial]:
        lists = split_lists("mnist")[split_list] if split_list else [[int(name) for name in DEFAULT_KNOWN]]
        trials = []
        for number, numbers in enumerate(lists):
            known = tuple(CLASSES[digit] for digit in numbers)
            data = "digits:" + ",".join(["known=" + "".join(sorted(known)), *options])
            unknown = {"unknown": TrialPart(data, "test", tuple(digit for digit in CLASSES if digit not in known))}
            train, test = TrialPart(data, "train", known), TrialPart(data, "test", known)
            trials.append(Trial(title, split_list, _letter(number), train, test, unknown, image_size))
        return trials

    return Protocol(title, image_size, {"": "Digits 0 to 5 are known.", "neal": about("neal")}, build)


def _digits_with_options(name: str) -> Protocol:
    """Make the protocol of the embedded digits with options.

    The same options give the same name, and so the same fingerprint, however they are written.
    """
    given, usual = load_source(recorded(name), "train"), DigitsOnTextures()
    assert isinstance(given, DigitsOnTextures)
    if "known" in name:
        raise DataError(f"which digits are known is for the trials of the protocol to say; leave it out of {name!r}")
    options = ("contrast", "copies", "image_size", "prior", "seed")
    changed = [option for option in options if getattr(given, option) != getattr(usual, option)]
    return _digits(given.image_size, [f"{option}={getattr(given, option)}" for option in changed])


PROTOCOLS: dict[str, Protocol] = {
    "mnist": _within("mnist", 32),
    "svhn": _within("svhn", 32),
    "cifar10": _within("cifar10", 32),
    "cifar+10": _cifar_plus("cifar+10"),
    "cifar+50": _cifar_plus("cifar+50"),
    "tiny-imagenet": _within("tiny-imagenet", 64, test="val"),
    "cifar10-ood": _cifar10_ood(),
    "cub": _fine_grained("cub"),
    "stanford-cars": _fine_grained("stanford-cars"),
    "fgvc-aircraft": _fine_grained("fgvc-aircraft", train="trainval"),
    "imagenet-1k": _imagenet(),
    "digits": _digits(),
}
"""The protocols by name."""
