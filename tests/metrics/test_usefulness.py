"""Whether a classifier is better than a guess: known answers, slow references and bad input."""

import json
from itertools import permutations
from math import comb

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.metrics.usefulness import Verdict, agreement, at_least, auroc_interval, judge

THREE = ["cat", "dog", "horse"]


def test_one_class_for_everything_is_no_better_than_the_commonest():
    verdict = judge([0, 1, 2] * 20, [1] * 60, THREE)
    assert not verdict.useful and verdict.strangers is None
    assert verdict.answers.finding == "no better" and verdict.answers.only == "dog"
    assert (verdict.answers.right, verdict.answers.images, verdict.answers.guessed) == (20, 60, pytest.approx(1 / 3))


def test_one_class_for_everything_is_no_better_however_rare_the_others():
    verdict = judge([0] * 95 + [1] * 5, [0] * 100, ["cat", "dog"])
    assert verdict.answers.finding == "no better" and verdict.answers.commonest == "cat"
    assert verdict.answers.guessed == 0.95


def test_a_good_answer_on_a_rare_class_is_no_guess():
    """96 of 100 are right where 'always cat' gets 95; but the dogs are found, which no guess does."""
    verdict = judge([0] * 95 + [1] * 5, [0] * 92 + [1] * 3 + [1] * 4 + [0], ["cat", "dog"])
    assert verdict.answers.right == 96 and verdict.answers.finding == "better" and verdict.useful


def test_too_few_images_prove_nothing_even_if_all_are_right():
    assert judge([0, 1, 2], [0, 1, 2], THREE).answers.finding == "unproven"  # (1/3)**3 = 0.037
    assert judge([0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 1, 2], THREE).answers.finding == "better"


def test_chance_accuracy_is_no_better():
    torch.manual_seed(0)
    labels, predicted = torch.randint(10, (500,)), torch.randint(10, (500,))
    assert judge(labels, predicted, [str(k) for k in range(10)]).answers.finding != "better"


def test_images_of_one_class_say_nothing_about_the_answers():
    assert judge([1] * 50, [1] * 50, THREE).answers is None
    assert judge([0] * 50, [0] * 50, ["cat"]).answers is None
    assert judge([], [], THREE, auroc=0.4, unknown=3) == Verdict()


def test_unknown_images_are_left_out_of_the_answers():
    assert judge([0, 1, 2] * 4 + [-1] * 50, [0, 1, 2] * 4 + [0] * 50, THREE).answers.images == 12


@pytest.mark.parametrize(
    ("auroc", "unknown", "finding"),
    [(0.5, 60, "no better"), (0.3, 60, "no better"), (0.55, 60, "unproven"), (0.7, 60, "better"), (1.0, 1, "unproven")],
)
def test_an_interval_that_holds_a_half(auroc, unknown, finding):
    known = [0, 1] * (30 if unknown > 1 else 2)
    verdict = judge(known, known, ["a", "b"], auroc=auroc, unknown=unknown)
    assert verdict.strangers.finding == finding
    low, high = verdict.strangers.low, verdict.strangers.high
    assert 0 <= low <= auroc <= high <= 1 and (low <= 0.5) == (finding != "better")


def test_the_interval_at_a_half_is_that_of_the_rank_test():
    """Under equal distributions the variance of AUROC is (n + m + 1) / (12 n m) (Mann and Whitney, 1947)."""
    known, unknown = 40, 25
    edge = 0.5 + 1.959963984540054 * ((known + unknown + 1) / (12 * known * unknown)) ** 0.5
    assert auroc_interval(edge - 1e-9, known, unknown)[0] <= 0.5 < auroc_interval(edge + 1e-6, known, unknown)[0]


@given(st.integers(1, 12), st.floats(0.05, 1.0), st.data())
def test_the_binomial_tail_is_the_sum_of_its_terms(tries, chance, data):
    hits = data.draw(st.integers(0, tries))
    slow = sum(comb(tries, k) * chance**k * (1 - chance) ** (tries - k) for k in range(hits, tries + 1))
    assert at_least(hits, tries, chance) == pytest.approx(slow, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=6))
def test_agreement_has_the_mean_and_the_spread_of_answers_in_a_random_order(pairs):
    labels, predicted = ([pair[k] for pair in pairs] for k in (0, 1))
    shown, answered = ([of.count(k) for k in range(3)] for of in (labels, predicted))
    right = sum(a == b for a, b in pairs)
    matches = torch.tensor(
        [sum(a == b for a, b in zip(labels, order, strict=True)) for order in permutations(predicted)],
        dtype=torch.float64,
    )
    spread = float(matches.std(unbiased=False))
    expected = (right - float(matches.mean())) / spread if spread > 1e-9 else 0.0
    assert agreement(shown, answered, right) == pytest.approx(expected, abs=1e-6)


def test_a_verdict_survives_its_file_and_nothing_else_becomes_one():
    verdict = judge([0, 1, 2] * 20, [1] * 60, THREE, auroc=0.4, unknown=10)
    content = json.loads(json.dumps(verdict.to_dict()))
    assert content["useful"] is False and Verdict.from_dict(content) == verdict
    for broken in (None, [], {"answers": 3}, {"answers": {}}, {"answers": {**content["answers"], "guessed": "x"}}):
        assert Verdict.from_dict(broken) == Verdict()
    for name, value in (("right", -1), ("images", 2.5), ("finding", "splendid"), ("commonest", 5), ("guessed", 7.0)):
        assert Verdict.from_dict({"answers": {**content["answers"], name: value}}).answers is None
