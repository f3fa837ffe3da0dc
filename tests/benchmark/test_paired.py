"""Differences to a baseline: slow references, known answers, and pairs that are none."""

import math
import random
from math import comb

import pytest
from benchmark_rows import row, rows_of
from hypothesis import given
from hypothesis import strategies as st

from backmix.benchmark.paired import compare, interval_of, sign_test
from backmix.benchmark.summary import Mean
from backmix.errors import DataError

shares = st.floats(0.0, 1.0)
pairs = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.tuples(shares, shares), min_size=1, max_size=3), min_size=2
)
# Student's t at 0.975, from printed tables, by degrees of freedom.
QUANTILES = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 30: 2.042}


def as_rows(found, name="backmix"):
    return rows_of(
        "auroc",
        {
            "none": {trial: [pair[0] for pair in seeds] for trial, seeds in found.items()},
            name: {trial: [pair[1] for pair in seeds] for trial, seeds in found.items()},
        },
    )


def slow_sign_test(better, worse):
    """All ways in which the signs could have fallen that are as one-sided as these."""
    count = better + worse
    ways = sum(comb(count, wins) for wins in range(count + 1) if abs(2 * wins - count) >= abs(better - worse))
    return ways / 2**count


def test_known_answer_of_five_trials():
    before = {"a": [0.80], "b": [0.82], "c": [0.84], "d": [0.86], "e": [0.88]}
    after = {"a": [0.82], "b": [0.83], "c": [0.87], "d": [0.85], "e": [0.88]}
    (found,) = compare(rows_of("auroc", {"none": before, "backmix": after}))
    assert found.setting.mix == "backmix" and found.baseline.mix == "none" and found.figure == "auroc"
    # Differences 2, 1, 3, -1, 0 points: mean 1, variance (1 + 0 + 4 + 4 + 1) / 4.
    sd = math.sqrt(2.5) / 100
    assert found.mean.value == pytest.approx(0.01) and found.mean.sd == pytest.approx(sd) and found.mean.n == 5
    half = 2.776 * sd / math.sqrt(5)
    assert found.interval == (pytest.approx(0.01 - half, abs=1e-5), pytest.approx(0.01 + half, abs=1e-5))
    assert (found.better, found.worse, found.equal) == (3, 1, 1)
    assert found.p == pytest.approx(2 * (1 + 4) / 16)
    assert list(found.values) == list("abcde") and found.values["c"] == pytest.approx(0.03)
    assert found.paired == tuple((trial, 0) for trial in "abcde") and found.notes == ()


def test_sign_test():
    assert sign_test(5, 0) == sign_test(0, 5) == pytest.approx(0.0625)
    assert sign_test(4, 1) == pytest.approx(0.375) and sign_test(0, 0) == sign_test(1, 1) == 1
    for better in range(8):
        for worse in range(8):
            assert sign_test(better, worse) == pytest.approx(slow_sign_test(better, worse))


@pytest.mark.parametrize("freedom, quantile", QUANTILES.items())
def test_interval(freedom, quantile):
    low, high = interval_of(Mean(0.1, math.sqrt(freedom + 1), freedom + 1, "trials"))
    assert low == pytest.approx(0.1 - quantile, abs=6e-4) and high == pytest.approx(0.1 + quantile, abs=6e-4)
    assert interval_of(Mean(0.1, None, 1, "trials")) is None


@given(found=pairs)
def test_as_the_slow_reference(found):
    (difference,) = compare(as_rows(found))
    by_trial = [sum(after - before for before, after in seeds) / len(seeds) for seeds in found.values()]
    mean = sum(by_trial) / len(by_trial)
    assert difference.mean.value == pytest.approx(mean, abs=1e-9) and difference.mean.n == len(found)
    sd = math.sqrt(sum((each - mean) ** 2 for each in by_trial) / (len(by_trial) - 1))
    assert difference.mean.sd == pytest.approx(sd, abs=1e-7)
    assert difference.better == sum(each > 1e-12 for each in by_trial)
    assert difference.worse == sum(each < -1e-12 for each in by_trial)
    assert difference.better + difference.worse + difference.equal == len(found)
    assert difference.p == pytest.approx(slow_sign_test(difference.better, difference.worse))
    assert len(difference.paired) == sum(map(len, found.values()))


@given(found=pairs, seed=st.integers(0, 99))
def test_order_of_rows_does_not_matter(found, seed):
    rows = as_rows(found)
    assert compare(random.Random(seed).sample(rows, len(rows))) == compare(rows)


@given(found=pairs, shift=st.floats(-0.5, 0.5))
def test_a_constant_shift_moves_the_difference_by_that(found, shift):
    half = {trial: [(a / 4 + 0.25, b / 4 + 0.25) for a, b in seeds] for trial, seeds in found.items()}
    shift = shift / 2
    moved = {trial: [(a, b + shift) for a, b in seeds] for trial, seeds in half.items()}
    (before,), (after,) = compare(as_rows(half)), compare(as_rows(moved))
    assert after.mean.value - before.mean.value == pytest.approx(shift, abs=1e-12)
    assert after.mean.sd == pytest.approx(before.mean.sd, abs=1e-7)
    for one, other in zip(before.interval, after.interval, strict=True):
        assert other - one == pytest.approx(shift, abs=1e-6)


@given(found=pairs)
def test_the_other_way_round_signs_change(found):
    other = {trial: [(b, a) for a, b in seeds] for trial, seeds in found.items()}
    (one,), (back,) = compare(as_rows(found)), compare(as_rows(other))
    assert back.mean.value == pytest.approx(-one.mean.value, abs=1e-12)
    assert (back.better, back.worse, back.p) == (one.worse, one.better, one.p)


def test_averages_that_are_equal_are_ties():
    (found,) = compare(as_rows({"a": [(0.1, 0.3), (0.2, 0.1), (0.3, 0.2)], "b": [(0.5, 0.5)]}))
    assert (found.better, found.worse, found.equal, found.p) == (0, 0, 2, 1)


def test_lower_is_better_for_fpr95():
    (found,) = compare([row(fpr95=0.5), row(augmentation="backmix", fpr95=0.4)], "fpr95")
    assert found.mean.value == pytest.approx(-0.1) and (found.better, found.worse) == (1, 0)


def test_one_trial_goes_over_its_seeds():
    (found,) = compare(as_rows({"a": [(0.5, 0.6), (0.5, 0.7), (0.5, 0.4)]}))
    assert found.mean.over == "seeds" and found.mean.n == 3 and list(found.values) == ["seed 0", "seed 1", "seed 2"]
    (found,) = compare(as_rows({"a": [(0.5, 0.6)]}))
    assert found.mean.sd is None and found.interval is None and found.p == 1


def test_baselines():
    rows = [
        row(augmentation=name, variant=variant) for name in ("backmix", "swap") for variant in ("", "patch_side=0.5")
    ]
    rows.append(row())

    def compared(**options):
        return [(each.setting.mix, each.baseline.mix) for each in compare(rows, **options) if each.mean is not None]

    assert compared() == [
        ("backmix", "none"),
        ("backmix (patch_side=0.5)", "none"),
        ("swap", "none"),
        ("swap (patch_side=0.5)", "none"),
    ]
    assert compared(augmentation=None) == [("backmix (patch_side=0.5)", "backmix"), ("swap (patch_side=0.5)", "swap")]
    assert ("swap", "backmix") in compared(augmentation="backmix")
    assert ("backmix", "backmix (patch_side=0.5)") in compared(augmentation="backmix", variant="patch_side=0.5")


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "svhn"},
        {"split_list": "neal", "fingerprint": "x"},
        {"unknown_set": "cifar100"},
        {"method": "arpl"},
        {"recipe": "paper"},
        {"detector": "msp"},
        {"trial": "b"},
        {"seed": 1},
    ],
)
def test_results_of_other_settings_trials_and_seeds_are_no_baseline(change):
    (found,) = compare([row(augmentation="backmix"), row(**change)])
    assert found.mean is None and found.p is None and found.paired == ()
    assert found.notes == ("not paired with none: trial a seed 0: it has no result there.",)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"model": "resnet18"}, "model is resnet18, there compact"),
        ({"epochs": 30}, "epochs is 30, there 29"),
        ({"precision": "fp32"}, "precision is fp32, there bf16"),
        ({"version": "2"}, "version is 2, there 0.1.0+0123456789"),
        ({"known_images": 5999}, "known_images is 5999, there 6000"),
        ({"epochs": 30, "version": "2"}, "epochs is 30, there 29; version is 2, there 0.1.0+0123456789"),
        ({"auroc": None}, "auroc is missing"),
    ],
)
def test_pairs_that_are_not_alike_are_left_out_and_named(change, said):
    rows = as_rows({"a": [(0.5, 0.6)], "b": [(0.5, 0.7)]})
    rows += [row(trial="c"), row(trial="c", augmentation="backmix", **{"auroc": 0.1} | change)]
    (found,) = compare(rows)
    assert found.paired == (("a", 0), ("b", 0)) and found.mean.value == pytest.approx(0.15)
    assert found.notes == (f"not paired with none: trial c seed 0: {said}.",)


def test_device_threads_and_seconds_may_differ():
    (found,) = compare([row(), row(augmentation="backmix", device="cuda: x", threads=1, seconds=None)])
    assert found.notes == () and found.mean.value == 0


def test_what_cannot_be_compared():
    with pytest.raises(DataError, match="no figure 'beauty'"):
        compare([row()], "beauty")
    with pytest.raises(DataError, match="fingerprints"):
        compare([row(), row(augmentation="backmix", fingerprint="other")])
    assert compare([]) == [] and compare([row()]) == []
