import pytest

from backmix.benchmark.protocol import Protocol
from backmix.benchmark.trial import Trial
from backmix.benchmark.trial import TrialPart as Part
from backmix.errors import DataError


def protocol(**lists):
    """Lists of (known, unknown) digits, as strings."""

    def build(name):
        return [
            Trial(
                "p",
                name,
                "abcde"[i],
                Part("mnist", "train", tuple(known)),
                Part("mnist", "test", tuple(known)),
                {"unknown": Part("mnist", "test", tuple(unknown))},
                32,
                ("own note",),
            )
            for i, (known, unknown) in enumerate(lists[name])
        ]

    return Protocol("p", 32, {name: f"from {name}" for name in lists}, build)


def notes(protocol, name, trial):
    first, *rest = protocol.trials(name)[trial].notes
    assert first == "own note"
    return rest


def test_trials_without_anything_to_say():
    one = protocol(x=[("01", "23"), ("12", "30")])
    assert list(one.trials("x")) == ["a", "b"] and one.trials("x")["b"].train.classes == ("1", "2")
    assert notes(one, "x", "a") == notes(one, "x", "b") == []


def test_repeats_within_a_list():
    one = protocol(x=[("01", "23"), ("10", "32"), ("01", "45"), ("67", "89")])
    same = "p x: trials a, b are of the same classes, so they count for one"
    alike = "p x: trials a, b, c have the same known classes, and other unknown ones"
    assert notes(one, "x", "a") == notes(one, "x", "b") == [same, alike]
    assert notes(one, "x", "c") == [alike] and notes(one, "x", "d") == []


def test_repeats_between_lists():
    one = protocol(x=[("01", "23"), ("45", "67")], y=[("54", "76"), ("01", "89")], z=[("89", "01")])
    twins = "p: of the same classes are the trials b of x, a of y"
    assert notes(one, "x", "b") == notes(one, "y", "a") == [twins]
    assert notes(one, "x", "a") == notes(one, "y", "b") == notes(one, "z", "a") == []


def test_lists_that_are_equal():
    one = protocol(x=[("01", "23"), ("45", "67")], y=[("54", "76"), ("01", "32")], z=[("01", "23")])
    whole = "p: the lists x and y hold the same trials"
    assert notes(one, "x", "b") == notes(one, "y", "a") == [whole]
    assert notes(one, "x", "a")[0] == whole and "a of z" in notes(one, "x", "a")[1]
    assert notes(one, "z", "a") == ["p: of the same classes are the trials a of x, b of y, a of z"]


def test_which_list():
    one = protocol(arpl=[("01", "23")], neal=[("12", "30")])
    assert one.default_list == "neal"
    assert protocol(arpl=[("01", "23")], cssr=[("12", "30")]).default_list == "cssr"
    for wrong in ("", "cssr", "Neal"):
        with pytest.raises(DataError, match=f"p has the split lists arpl, neal; got '{wrong}'"):
            one.trials(wrong)
    alone = protocol(**{"": [("01", "23")]})
    assert alone.default_list == "" and list(alone.trials()) == ["a"]
    with pytest.raises(DataError, match="p has one list of classes, without a name; got 'neal'"):
        alone.trials("neal")
