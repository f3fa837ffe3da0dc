"""AUROC of four pairs and what they say of backgrounds, against the plain metric and a loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix import metrics
from backmix.audit import open_set
from backmix.audit.open_set import open_set_figures, weighted_auroc

SCORES = st.lists(st.integers(0, 6), min_size=1, max_size=12)


def figures(scores, seed=0, resamples=200):
    strata = {"K": torch.arange(len(scores["Kk"])) % 2, "Q": torch.arange(len(scores["Qk"])) % 2}
    return open_set_figures(scores, strata, torch.Generator().manual_seed(seed), resamples=resamples)


def normal(count, mean, seed):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed)) + mean


def quartet(known_on_unknown=0.0, unknown_on_known=2.0):
    return {
        "Kk": normal(60, 0.0, 1),
        "Kq": normal(60, known_on_unknown, 2),
        "Qk": normal(50, unknown_on_known, 3),
        "Qq": normal(50, 2.0, 4),
    }


@given(SCORES, SCORES)
def test_without_weights_it_is_the_plain_auroc(known, unknown):
    known, unknown = torch.tensor(known).float(), torch.tensor(unknown).float()
    ones = [torch.ones(1, len(of), dtype=torch.float64) for of in (known, unknown)]
    assert float(weighted_auroc(known, unknown, *ones)) == pytest.approx(metrics.auroc(known, unknown))


@settings(max_examples=30)
@given(SCORES, SCORES, st.integers(0, 1000))
def test_weights_are_repetitions(known, unknown, seed):
    known, unknown = torch.tensor(known).float(), torch.tensor(unknown).float()
    random = torch.Generator().manual_seed(seed)
    weights = [torch.randint(0, 4, (5, len(of)), generator=random) for of in (known, unknown)]
    found = weighted_auroc(known, unknown, *(of.double() for of in weights))
    for row in range(5):
        repeated = [of.repeat_interleave(w[row]) for of, w in zip((known, unknown), weights)]
        if all(len(of) for of in repeated):
            assert float(found[row]) == pytest.approx(metrics.auroc(*repeated))
        else:
            assert found[row].isnan()


def test_a_few_rows_at_a_time_give_the_same(monkeypatch):
    known, unknown = normal(9, 0, 1), normal(7, 1, 2)
    weights = [torch.randint(0, 3, (11, n), generator=torch.Generator().manual_seed(0)).double() for n in (9, 7)]
    whole = weighted_auroc(known, unknown, *weights)
    monkeypatch.setattr(open_set, "_AT_ONCE", 20)
    assert torch.equal(whole, weighted_auroc(known, unknown, *weights))


def test_a_model_that_looks_at_objects_is_not_misled():
    found = figures(quartet())
    for pair, entry in found["auroc"].items():
        scores = quartet()
        assert entry["value"] == pytest.approx(metrics.auroc(scores[pair[:2]], scores[pair[3:]]))
        assert entry["low"] < entry["value"] < entry["high"]
    assert found["misleading_index"]["low"] < 0 < found["misleading_index"]["high"]
    assert found["images"] == {"Kk": 60, "Kq": 60, "Qk": 50, "Qq": 50}


def test_a_model_that_looks_at_backgrounds_is():
    scores = quartet(known_on_unknown=2.0, unknown_on_known=0.0)
    found = figures(scores)
    assert found["misleading_index"]["value"] == pytest.approx(
        metrics.auroc(scores["Kk"], scores["Qq"]) - metrics.auroc(scores["Kk"], scores["Qk"])
    )
    assert found["misleading_index"]["low"] > 0.1
    bias = (scores["Qq"].mean() - scores["Qk"].mean()) / scores["Kk"].std(correction=0)
    assert found["bias"]["value"] == pytest.approx(float(bias), rel=1e-5) and found["bias"]["low"] > 1


def test_images_that_are_not_in_a_set_are_left_out_and_empty_sets_give_none():
    scores = quartet()
    scores["Kk"][::2] = torch.nan
    assert figures(scores)["images"]["Kk"] == 30
    kept = {**quartet(), "Kk": scores["Kk"][1::2], "Kq": scores["Kq"][1::2]}
    assert figures(scores)["auroc"]["Kk-Qk"]["value"] == figures(kept)["auroc"]["Kk-Qk"]["value"]
    scores["Qq"][:] = torch.nan
    found = figures(scores)
    assert found["auroc"]["Kk-Qq"] is None and found["misleading_index"] is None and found["bias"] is None
    assert found["auroc"]["Kk-Qk"] is not None


def test_equal_scores_of_all_known_images_have_no_bias():
    scores = {**quartet(), "Kk": torch.zeros(60)}
    assert figures(scores)["bias"] is None


def test_the_same_seed_gives_the_same():
    assert figures(quartet(), seed=3) == figures(quartet(), seed=3) != figures(quartet(), seed=4)
