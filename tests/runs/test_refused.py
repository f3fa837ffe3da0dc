"""What is told of strangers refused, beside the share of known images accepted."""

import pytest

from backmix.runs.refused import UNKNOWN, estimated_at, estimates, refused_in_words

METRICS = {"head": {"refused": {"detector": "msp", "at": {"0.8": 0.7, "0.9": 0.5, "0.95": 0.4}}}}


def test_an_estimate_stands_beside_the_share():
    assert refused_in_words(METRICS, "msp", 0.95).startswith("Of photos of other things about 40 % are refused, by an")


@pytest.mark.parametrize(("accept", "share"), [(0.8, 0.7), (0.85, 0.6), (0.925, 0.45), (0.99, None), (0.5, None)])
def test_between_shares_the_estimate_lies_between(accept, share):
    assert estimated_at(estimates(METRICS, "msp"), accept) == (share if share is None else pytest.approx(share))


def test_an_estimate_for_another_score_or_none_says_that_it_is_not_known():
    for metrics in (
        {},
        {"head": None},
        {"head": {"refused": None}},
        {"head": {"refused": {"detector": "msp"}}},
        METRICS,
    ):
        assert estimates(metrics, "energy") == {}
        assert refused_in_words(metrics, "energy", 0.95) == UNKNOWN
    broken = {"head": {"refused": {"detector": "msp", "at": {"x": 0.5, "0.9": "y", "0.8": 7, "2": 0.1, "0.95": True}}}}
    assert estimates(broken, "msp") == {}
