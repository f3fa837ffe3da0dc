"""What the report says of a head that was trained alone, whatever stands in metrics.json."""

from pathlib import Path

import pytest

from backmix.report.head_training import comparison, head_training
from backmix.report.run_facts import RunFacts

CONFIG = {
    "frozen": True,
    "model": "tf_efficientnet_lite0",
    "method": "softmax",
    "chosen": {"weights": "the package lite==0.1.0"},
}
HEAD = {
    "images": 1200,
    "computed": 10,
    "engine": "torch 2 fp32",
    "strength": {
        "strength": 1e-05,
        "accuracy": {"0.001": 0.9, "1e-05": 0.95},
        "log_loss": {"0.001": 0.4, "1e-05": 0.2},
    },
    "mixed_views": {"of_each_image": 3, "computed": 0},
}


def facts(config=CONFIG, **metrics):
    return RunFacts(Path("run"), config, metrics, None, {}, None)


def test_a_run_whose_weights_were_all_trained_has_none():
    assert head_training(facts({**CONFIG, "frozen": False}, head=HEAD)) is None


def test_what_it_says():
    found = head_training(facts(head=HEAD))
    rows = dict(found.facts)
    assert "tf_efficientnet_lite0 kept its published weights" in found.sentence
    assert rows["its weights"] == "the package lite==0.1.0"
    assert rows["trained"] == "the head alone, a logistic regression"
    assert rows["images trained on"] == "1,200"
    assert rows["images that the network ran on"] == "10, whose features were not kept from an earlier run"
    assert rows["mixed views of each image"] == "3, which the head also learned from"
    assert rows["strength of the penalty"] == "1e−05"
    assert rows["training images answered right, each left out once"] == "95\u00a0%"
    assert found.strengths == [("0.001", 0.9, 0.4, False), ("1e−05", 0.95, 0.2, True)]


def test_another_method_and_another_source():
    found = head_training(facts({**CONFIG, "method": "arpl", "chosen": {}}, head={**HEAD, "strength": None}))
    rows = dict(found.facts)
    assert rows["trained"] == "the head alone, a head of arpl" and "its weights" not in rows and not found.strengths


@pytest.mark.parametrize("head", [None, "x", {"strength": "x"}, {"strength": {"strength": 1, "accuracy": {"a": 1}}}])
def test_what_cannot_be_read_is_left_out(head):
    found = head_training(facts(head=head))
    assert found.strengths == [] and dict(found.facts)["network, as published"] == "tf_efficientnet_lite0"


def test_names_that_are_no_numbers_are_no_strengths():
    strength = {"strength": 1.0, "accuracy": {"a": 0.5, "1": 0.5}, "log_loss": {"a": 0.5, "1": 0.5}}
    assert head_training(facts(head={"strength": strength})).strengths == [("1", 0.5, 0.5, True)]


def test_the_head_against_all_weights():
    assert comparison(facts()) is None and comparison(facts(comparison={"head": "x"})) is None
    both = {"kept": "all", "head": 0.8, "all": 0.9, "images": 40, "why": ""}
    assert comparison(facts(comparison=both)) == (
        "All weights were kept. The head alone was trained first, then all weights. On 40 training images set aside "
        "from both, the head alone answered 80\u00a0% right, and all weights 90\u00a0%."
    )
    alone = {"kept": "head", "head": 0.8, "all": None, "images": 0, "why": "only 3 s were left of 10s"}
    assert comparison(facts(comparison=alone)) == "The head alone was trained: only 3 s were left of 10s."


def test_the_share_of_mixed_views_is_told():
    views = {"of_each_image": 3, "computed": 0, "mixed": 0.9}
    rows = dict(head_training(facts(head={**HEAD, "mixed_views": views})).facts)
    assert rows["mixed views of each image"].endswith("; 90\u00a0% of them show a part of another image")
