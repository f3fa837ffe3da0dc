"""Means over trials and seeds, against slow references and known answers."""

import itertools
import math
import random

import pytest
from benchmark_rows import row, rows_of
from hypothesis import given
from hypothesis import strategies as st

from backmix.benchmark.results import FIGURES
from backmix.benchmark.summary import Mean, in_units, mean_of, summarise
from backmix.benchmark.summary import RowSetting as Setting
from backmix.errors import DataError

shares = st.floats(0, 1)
grids = st.dictionaries(st.sampled_from("abcde"), st.lists(shares, min_size=1, max_size=3), min_size=1)


def slow_mean_and_sd(values):
    mean = sum(values) / len(values)
    if len(values) == 1:
        return mean, None
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def slow_units(trials):
    if len(trials) == 1:
        return next(iter(trials.values()))
    return [sum(seeds) / len(seeds) for seeds in trials.values()]


def test_known_answer_of_three_trials():
    (found,) = summarise(rows_of("auroc", {"none": {"a": [0.80], "b": [0.84], "c": [0.82]}}))
    mean = found.means["auroc"]
    assert mean.value == pytest.approx(0.82) and mean.sd == pytest.approx(0.02)
    assert (mean.n, mean.over, found.trials, found.seeds, found.notes) == (3, "trials", 3, (1, 1), ())
    assert found.means["oscr"].value == 0.7 and found.means["oscr"].sd == 0
    assert list(found.means) == list(FIGURES)


def test_seeds_are_averaged_within_their_trial_first():
    # Pooled, the mean would be 0.78 and the deviation that of five values.
    (found,) = summarise(rows_of("auroc", {"none": {"a": [0.9, 0.9, 0.9, 0.6], "b": [0.6]}}))
    mean = found.means["auroc"]
    assert mean.value == pytest.approx((0.825 + 0.6) / 2)
    assert mean.sd == pytest.approx(0.225 / math.sqrt(2)) and mean.n == 2
    assert (found.trials, found.seeds) == (2, (1, 4))


def test_one_value_has_no_deviation_and_seeds_of_one_trial_say_what_they_are():
    (found,) = summarise([row()])
    assert found.means["auroc"] == Mean(0.8, None, 1, "trials")
    (found,) = summarise(rows_of("auroc", {"none": {"a": [0.7, 0.8, 0.9]}}))
    mean = found.means["auroc"]
    assert mean.value == pytest.approx(0.8) and mean.sd == pytest.approx(0.1)
    assert (mean.n, mean.over, found.trials, found.seeds) == (3, "seeds", 1, (3, 3))
    with pytest.raises(ValueError, match="nothing to average"):
        mean_of({})


@given(trials=grids)
def test_as_the_slow_reference(trials):
    (found,) = summarise(rows_of("auroc", {"none": trials}), ["auroc"])
    mean, sd = slow_mean_and_sd(slow_units(trials))
    assert found.means["auroc"].value == pytest.approx(mean, abs=1e-12)
    assert found.means["auroc"].sd == (None if sd is None else pytest.approx(sd, abs=1e-7))
    assert found.seeds == (min(map(len, trials.values())), max(map(len, trials.values())))


@given(trials=grids, seed=st.integers(0, 99))
def test_order_of_rows_does_not_matter(trials, seed):
    rows = rows_of("auroc", {"none": trials, "backmix": trials})
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert summarise(shuffled) == summarise(rows)


def test_settings_stay_apart_and_in_order():
    changes = [
        {},
        {"protocol": "svhn"},
        {"split_list": "neal", "fingerprint": "other"},
        {"unknown_set": "cifar100"},
        {"method": "arpl"},
        {"augmentation": "backmix"},
        {"augmentation": "backmix", "variant": "patch_side=0.5"},
        {"augmentation": "cutmix"},
        {"recipe": "paper"},
        {"detector": "msp"},
    ]
    rows = [row(auroc=number / 10, **change) for number, change in enumerate(changes)]
    found = summarise(rows, ["auroc"])
    assert sorted(each.means["auroc"].value for each in found) == [number / 10 for number in range(10)]
    assert [each.setting for each in found] == sorted((Setting.of(each) for each in rows), key=lambda one: one.order)
    mixes = [each.setting.mix for each in found if each.setting.block == ("cifar10", "cssr", "unknown", "cpu")]
    assert mixes == ["none", "none", "backmix", "backmix (patch_side=0.5)", "cutmix", "none"]


def test_a_trial_of_two_fingerprints_is_refused():
    rows = [row(), row(seed=1, fingerprint="other")]
    with pytest.raises(DataError, match=r"trial a of cifar10 cssr has fingerprints f-a and other"):
        summarise(rows)
    with pytest.raises(DataError, match=r"fingerprints"):
        summarise([row(), row(augmentation="backmix", fingerprint="other")])
    assert len(summarise([row(), row(split_list="neal", fingerprint="other")])) == 2


def test_the_same_result_twice_and_an_unknown_figure_are_refused():
    with pytest.raises(DataError, match="two results for .*give each file once"):
        summarise([row(), row(auroc=0.1)])
    with pytest.raises(DataError, match="no figure 'beauty'; there are accuracy, auroc"):
        summarise([row()], ["beauty"])


def test_missing_figures_are_left_out_and_said():
    (found,) = summarise([row(trial="a", auroc=0.6), row(trial="b", auroc=None), row(trial="c", auroc=0.8)])
    assert found.means["auroc"].value == pytest.approx(0.7) and found.means["auroc"].n == 2
    assert found.means["oscr"].n == 3
    assert found.notes == ("auroc is the mean of 2 of 3 results; the others have none.",)
    (found,) = summarise([row(auroc=None)])
    assert "auroc" not in found.means and found.notes == ()


@pytest.mark.parametrize("name, value", [("model", "b"), ("epochs", 30), ("precision", "fp32"), ("version", "2")])
def test_what_differs_among_averaged_rows_is_said(name, value):
    (found,) = summarise([row(trial="a"), row(trial="b", **{name: value}), row(trial="c", **{name: value})])
    (note,) = found.notes
    assert note.startswith(f"{name} is not the same in all results averaged: ")
    assert f"{value} (trial b, c)" in note and "(trial a)" in note


def test_trials_that_repeat_one_another_are_said():
    (found,) = summarise([row(trial="a"), row(trial="b", fingerprint="f-a"), row(trial="c")])
    (note,) = found.notes
    assert note.startswith("trials a, b are of the same classes: n counts them as 2") and found.trials == 3


def test_units_are_sorted_seeds_as_numbers():
    values = {("a", seed): seed / 20 for seed in (10, 9, 2)}
    for order in itertools.permutations(values.items()):
        assert list(in_units(dict(order))[1]) == ["seed 2", "seed 9", "seed 10"]
    assert in_units({("b", 0): 0.5, ("a", 0): 0.25}) == ("trials", {"a": 0.25, "b": 0.5})
