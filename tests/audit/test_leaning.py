"""Which background pulls answers to a class, against counts by hand and a loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.audit.leaning import leanings

NAMES = ["grass", "sand", "sea"]


def lean(rows, classes=3, kind="scene", names=NAMES):
    answers, backgrounds, labels = (torch.tensor(column) for column in zip(*rows))
    return leanings(answers, backgrounds, labels, names, kind, classes)


def test_the_background_with_the_highest_share_is_named():
    rows = [(0, 0, -1)] * 18 + [(1, 0, -1)] * 2 + [(1, 1, -1)] * 15 + [(2, 1, -1)] * 5 + [(2, 2, -1)] * 20
    cow, camel, ship = lean(rows)
    assert (cow.name, cow.kind, cow.images) == ("grass", "scene", 20)
    assert cow.share == pytest.approx(0.9) and cow.otherwise == 0
    assert camel.name == "sand" and camel.share == 0.75 and camel.otherwise == pytest.approx(2 / 40)
    assert ship.name == "sea" and ship.otherwise == pytest.approx(5 / 40)


def test_images_of_the_class_itself_say_nothing():
    rows = [(0, 0, 0)] * 50 + [(1, 1, 0)] * 50
    assert lean(rows)[0] is None
    # Three of ten on grass against none of ten elsewhere may be chance; eight are not.
    few = [(0, 0, 1)] * 3 + [(1, 0, 1)] * 7 + [(1, 1, 1)] * 10
    many = [(0, 0, 1)] * 8 + [(1, 0, 1)] * 2 + [(1, 1, 1)] * 10
    assert lean(few)[0] is None and lean(many)[0].name == "grass"


def test_a_model_that_does_not_care_leans_on_nothing():
    rows = [(k % 3, (k // 3) % 3, (k // 9) % 3) for k in range(270)]
    assert lean(rows) == [None] * 3


def test_one_background_alone_stands_out_from_nothing():
    assert lean([(0, 0, -1)] * 30) == [None] * 3


def test_answers_outside_the_classes_count_as_tries():
    rows = [(0, 0, -1)] * 6 + [(-1, 0, -1)] * 4 + [(-1, 1, -1)] * 10
    assert lean(rows)[0].share == 0.6


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 2), st.integers(-1, 2)), min_size=1, max_size=60))
def test_shares_are_those_of_a_loop(rows):
    for number, found in enumerate(lean(rows)):
        if found is None:
            continue
        place = NAMES.index(found.name)
        here = [answer == number for answer, ground, label in rows if label != number and ground == place]
        rest = [answer == number for answer, ground, label in rows if label != number and ground != place]
        assert found.share == pytest.approx(sum(here) / len(here)) and found.images == len(here)
        assert found.otherwise == pytest.approx(sum(rest) / len(rest)) and found.share > found.otherwise
