"""The section on the choice of the unknown score: what it says, whatever stands in metrics.json."""

import copy
from pathlib import Path

import pytest
import torch

from backmix.report.run_facts import RunFacts
from backmix.report.score_choice import score_choice_section
from backmix.report.tested import Thresholds
from backmix.threshold.conformal import ConformalThreshold

CHOICE = {
    "detector": "msp",
    "auroc": {"msp": 0.9, "max_logit": 0.85, "msp+cosine_knn": 0.905},
    "folds": [
        {"left_out": ["cat"], "auroc": {"msp": 0.8, "max_logit": 0.9, "msp+cosine_knn": 0.85}},
        {"left_out": ["dog", "cow"], "auroc": {"msp": 1.0, "max_logit": 0.8, "msp+cosine_knn": 0.96}},
    ],
    "images": 120,
}


def section(choice, why="", detector="msp", frozen=True, held=40):
    head = {"unknown_score": choice, "why": why} if choice is not None or why else None
    facts = RunFacts(Path("run"), {"frozen": frozen}, {"head": head}, None, {}, None)
    overall = ConformalThreshold.fit(torch.arange(float(held)), accept=0.9) if held else None
    return score_choice_section(facts, Thresholds(overall, [], 0.9, detector))


def test_a_run_without_a_choice_has_no_section():
    assert section(None) is None


def test_what_it_says():
    found = section(CHOICE)
    text = " ".join(found.lead)
    assert "In each of 2 rounds, 1 or 2 of the known classes were left out." in text
    assert "in 90.0 of 100 pairs, 5.0 more than max_logit (85.0), which is taken where no choice can be made." in text
    assert (
        "Only the 120 training images took part: no image of a class that is unknown here, and none of the 40 images"
        in text
    )
    assert [(name, text, chosen) for name, _, text, chosen in found.scores] == [
        ("msp+cosine_knn", "+0.5", False),
        ("msp", "0.0", True),
        ("max_logit", "−5.0", False),
    ]
    assert any(remark.startswith("msp+cosine_knn comes out higher, but two scores") for remark in found.remarks)
    assert found.compared == ["msp", "max_logit"]
    assert [(each.left_out, each.auroc, each.best) for each in found.rounds] == [
        (["cat"], [0.8, 0.9], ("max_logit", 0.9)),
        (["dog", "cow"], [1.0, 0.8], ("msp", 1.0)),
    ]


def test_the_usual_score_is_not_compared_with_itself():
    found = section({**CHOICE, "detector": "max_logit"}, detector="max_logit")
    assert "it is the one that is taken where no choice can be made" in " ".join(found.lead)
    assert found.compared == ["max_logit"]


def test_a_worse_one_is_said_to_be_worse():
    found = section({**CHOICE, "auroc": {"msp": 0.8, "max_logit": 0.85}})
    assert "5.0 fewer than max_logit (85.0)" in " ".join(found.lead)


def test_what_changed_since_and_what_is_too_good():
    remarks = " ".join(section(CHOICE, detector="energy", frozen=False).remarks)
    assert "Since then another score was asked for: energy decides now." in remarks
    assert "All weights had been trained on images of these classes before" in remarks
    assert "that set the threshold" not in " ".join(section(CHOICE, held=0).lead)


@pytest.mark.parametrize("why", ["3 known classes are too few", "it was asked for by name"])
def test_why_there_was_no_choice(why):
    found = section(None, why, detector="energy")
    assert (
        found.lead == [f"energy decides. It was not chosen by leaving known classes out: {why}."] and not found.scores
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("auroc", None), ("auroc", {"msp": "high"}), ("detector", "other"), ("detector", None), ("auroc", [1, 2])],
)
def test_a_choice_that_cannot_be_read_is_none(key, value):
    assert section({**CHOICE, key: value}, why="w").lead[0].startswith("msp decides. It was not chosen")


@pytest.mark.parametrize(
    "folds", [None, "x", [None], [{"left_out": "cat"}], [{"left_out": ["a"], "auroc": {"msp": None}}]]
)
def test_rounds_that_cannot_be_read_are_left_out(folds):
    choice = {**copy.deepcopy(CHOICE), "folds": folds, "images": "many"}
    found = section(choice)
    assert found.rounds == [] and "in 90.0 of 100 pairs" in " ".join(found.lead)
