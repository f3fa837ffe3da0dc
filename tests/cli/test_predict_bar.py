"""A bar for people, and nothing for pipes."""

import io
import time

from predict_colours import found
from rich.console import Console

from backmix.cli.predict_bar import answering_bar


def shown(count, done=0, steps=(5, 10), wait=0.3):
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with answering_bar(console, count, done) as advance:
        for step in steps:
            time.sleep(wait)
            advance(step)
        time.sleep(wait)
    return console.file.getvalue()


def test_how_many_how_fast_and_how_long():
    said = shown(lambda: iter(found(*"abcdefghijklmnopqrst")))
    assert "predicting" in said and "10/20" in said and " images/s, 0:00:0" in said and "left" in said


def test_a_number_that_is_not_known():
    said = shown(None)
    assert "10/?" in said and "images/s" in said and "left" not in said


def test_what_was_done_before_counts_and_is_not_taken_for_speed():
    said = shown(lambda: iter(found(*"abc") * 2000), done=5000, steps=(5000, 5001))
    assert "5000/6000" in said and "5001/6000" in said and "00 images/s" not in said


def test_counting_ends_with_the_bar():
    counted = 0

    def endless():
        nonlocal counted
        while True:
            counted += 1
            time.sleep(0.001)
            yield found("a")[0]

    shown(endless, steps=(1,), wait=0.05)
    time.sleep(0.05)
    before = counted
    time.sleep(0.1)
    assert counted == before > 0


def test_nothing_without_a_terminal():
    console = Console(file=io.StringIO())

    def never():
        raise AssertionError("counted for nobody")

    with answering_bar(console, never) as advance:
        advance(3)
    assert console.file.getvalue() == ""
