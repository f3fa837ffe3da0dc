"""Figures of each known class."""

import torch
from report_answers import answers, thresholds

from backmix.report.by_class import class_lines
from backmix.threshold.conformal import ConformalThreshold

ROWS = [
    *[("cat", "cat", True, 0)] * 3,
    ("cat", "dog", True, 0),
    ("cat", "cat", False, 2),
    ("dog", "cat", True, 0),
    ("cow", "cat", True, 0),
]


def test_the_worst_class_comes_first_and_one_without_images_last():
    lines = class_lines(answers(ROWS, ("cat", "dog", "emu")), thresholds())
    assert [line.name for line in lines] == ["dog", "cat", "emu"]
    dog, cat, emu = lines
    assert (cat.images, cat.right, cat.unknown, cat.wrong) == (5, 3, 1, 1)
    assert cat.share.value == 0.6 and cat.accuracy == 0.8 and cat.accepted == 0.8
    assert (dog.right, dog.wrong, dog.accuracy) == (0, 1, 0) and dog.few
    assert emu.share is None and emu.accuracy is None and emu.accepted is None


def test_a_class_has_its_own_threshold_or_that_of_all():
    own = ConformalThreshold.fit(torch.arange(40).double(), 0.95)
    lines = {line.name: line for line in class_lines(answers(ROWS), thresholds(by_class=[own, None]))}
    assert lines["cat"].own_threshold and lines["cat"].held_out == 40 and lines["cat"].threshold == own.threshold
    assert not lines["dog"].own_threshold and lines["dog"].threshold == thresholds().overall.threshold
    without = class_lines(answers(ROWS), thresholds(held_out=0))
    assert all(line.threshold is None for line in without)
