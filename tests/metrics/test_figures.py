import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, f1_score, precision_recall_curve, roc_auc_score, roc_curve

from backmix.metrics import figures as metrics

PREDICTIONS = np.array([0, 1, 2, 0, 1, 2, 0, 1])
LABELS = np.array([0, 1, 2, 0, 2, 2, 1, 1])
CORRECT = PREDICTIONS == LABELS
# Published as knownness, larger = more known: unknown scores are their negatives.
TIES = (
    -np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3]),
    -np.array([0.75, 0.6, 0.5, 0.4, 0.2, 0.1]),
)
NO_TIES = (
    -np.array([0.95, 0.85, 0.80, 0.70, 0.65, 0.55, 0.45, 0.30]),
    -np.array([0.75, 0.60, 0.50, 0.40, 0.20, 0.10]),
)

# Few values make ties, wide ones do not; infinities are scores like others.
score = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, width=32), st.sampled_from([math.inf, -math.inf]))
scores = st.lists(score, min_size=1, max_size=25).map(np.array)
finite = st.lists(st.one_of(st.integers(-3, 3).map(float), st.floats(-1e3, 1e3, width=32)), min_size=1, max_size=25)
finite_scores = finite.map(np.array)
seeds = st.integers(0, 2**32 - 1)


def slow_oscr(known, correct, unknown):
    """The double sum, and so the AUROC when every image is correct."""
    total = 0.0
    for a, hit in zip(known, correct, strict=True):
        for b in unknown:
            total += hit * ((b > a) + 0.5 * (b == a))
    return total / (len(known) * len(unknown))


def slow_rates(known, unknown):
    """(TPR, FPR) at every threshold, from the strictest on."""
    for t in sorted({*known, *unknown}):
        yield sum(a <= t for a in known) / len(known), sum(b <= t for b in unknown) / len(unknown)


def slow_aupr(positive, negative, integration):
    """Positives score low; the curve starts at recall 0 with precision 1."""
    area, recall, precision = 0.0, 0.0, 1.0
    for t in sorted({*positive, *negative}):
        hits, alarms = sum(a <= t for a in positive), sum(b <= t for b in negative)
        before, recall = recall, hits / len(positive)
        last, precision = precision, hits / (hits + alarms)
        area += (recall - before) * (precision if integration == "step" else (precision + last) / 2)
    return area


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (TIES, (0.750000, 0.820915, 0.820915, 0.727946, 0.725481, 0.708333, 0.666667, 0.604167)),
        (NO_TIES, (0.770833, 0.843750, 0.832332, 0.764520, 0.743768, 0.729167, 0.666667, 0.604167)),
    ],
    ids=["ties", "no-ties"],
)
def test_known_answers(sample, expected):
    known, unknown = sample
    found = (
        metrics.auroc(known, unknown),
        metrics.aupr_in(known, unknown),
        metrics.aupr_in(known, unknown, integration="trapezoid"),
        metrics.aupr_out(known, unknown),
        metrics.aupr_out(known, unknown, integration="trapezoid"),
        metrics.detection_accuracy(known, unknown),
        metrics.fpr95(known, unknown),
        metrics.oscr(known, CORRECT, unknown),
    )
    assert [round(value, 6) for value in found] == list(expected)


def test_closed_accuracy_of_the_known_answers():
    assert metrics.closed_accuracy(PREDICTIONS, LABELS) == 0.75


def test_normal_scores_reach_the_area_of_theory():
    generator = np.random.default_rng(0)
    known, unknown = -generator.normal(1, 1, 2000), -generator.normal(0, 1, 2000)
    correct = generator.random(2000) < 0.9
    area = metrics.auroc(known, unknown)
    theory = 0.5 * (1 + math.erf(0.5))
    assert theory == pytest.approx(0.7602, abs=1e-4)
    # Its standard error is 0.0075.
    assert area == pytest.approx(theory, abs=0.03)
    assert metrics.oscr(known, correct, unknown) == pytest.approx(area * correct.mean(), abs=0.005)


@settings(deadline=None)
@given(scores, scores, seeds)
def test_agrees_with_slow_references(known, unknown, seed):
    correct = np.random.default_rng(seed).random(len(known)) < 0.7
    rates = list(slow_rates(known, unknown))
    found = metrics.open_set_metrics(known, correct, unknown)
    assert found == pytest.approx(
        {
            "auroc": slow_oscr(known, np.ones(len(known)), unknown),
            "aupr_in": slow_aupr(known, unknown, "step"),
            "aupr_out": slow_aupr(-unknown, -known, "step"),
            "fpr95": next(fpr for tpr, fpr in rates if tpr >= 0.95),
            "detection_accuracy": max((tpr + 1 - fpr) / 2 for tpr, fpr in rates),
            "oscr": slow_oscr(known, correct, unknown),
        },
        abs=1e-12,
    )
    assert metrics.aupr_in(known, unknown, integration="trapezoid") == pytest.approx(
        slow_aupr(known, unknown, "trapezoid"), abs=1e-12
    )
    assert metrics.aupr_out(known, unknown, integration="trapezoid") == pytest.approx(
        slow_aupr(-unknown, -known, "trapezoid"), abs=1e-12
    )


@settings(deadline=None)
@given(finite_scores, finite_scores)
def test_agrees_with_scikit_learn(known, unknown):
    is_unknown = np.r_[np.zeros(len(known)), np.ones(len(unknown))]
    both = np.r_[known, unknown]
    fpr, tpr, _ = roc_curve(1 - is_unknown, -both, drop_intermediate=False)
    assert metrics.auroc(known, unknown) == pytest.approx(roc_auc_score(is_unknown, both), abs=1e-12)
    assert metrics.fpr95(known, unknown) == pytest.approx(fpr[tpr >= 0.95][0], abs=1e-12)
    assert metrics.detection_accuracy(known, unknown) == pytest.approx((tpr + 1 - fpr).max() / 2, abs=1e-12)
    for figure, truth, sign in ((metrics.aupr_in, 1 - is_unknown, -1), (metrics.aupr_out, is_unknown, 1)):
        precision, recall, _ = precision_recall_curve(truth, sign * both)
        assert figure(known, unknown) == pytest.approx(average_precision_score(truth, sign * both), abs=1e-12)
        assert figure(known, unknown, integration="trapezoid") == pytest.approx(auc(recall, precision), abs=1e-12)


@settings(deadline=None)
@given(scores, scores, seeds)
def test_properties(known, unknown, seed):
    generator = np.random.default_rng(seed)
    correct = generator.random(len(known)) < 0.5
    found = metrics.open_set_metrics(known, correct, unknown)
    assert all(type(value) is float and 0 <= value <= 1 for value in found.values())
    assert found["auroc"] == pytest.approx(1 - metrics.auroc(unknown, known), abs=1e-15)
    assert found["auroc"] == pytest.approx(metrics.auroc(-unknown, -known), abs=1e-15)
    assert found["aupr_in"] == metrics.aupr_out(-unknown, -known)
    assert found["oscr"] <= correct.mean()
    assert metrics.oscr(known, np.ones(len(known), bool), unknown) == found["auroc"]
    assert found["detection_accuracy"] >= 0.5

    order = generator.permutation(len(known))
    shuffled = metrics.open_set_metrics(known[order], correct[order], generator.permutation(unknown))
    assert shuffled == found

    # Any rising function keeps every figure: here the rank of a score among all of them.
    values = np.unique(np.r_[known, unknown])
    ranks = [np.searchsorted(values, part).astype(np.float64) ** 3 for part in (known, unknown)]
    assert metrics.open_set_metrics(ranks[0], correct, ranks[1]) == found


def test_perfect_reversed_and_constant_scores():
    low, high, all_right = np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0]), np.ones(2, bool)
    perfect = {"auroc": 1, "aupr_in": 1, "aupr_out": 1, "fpr95": 0, "detection_accuracy": 1, "oscr": 1}
    assert metrics.open_set_metrics(low, all_right, high) == perfect
    reversed_ = metrics.open_set_metrics(high[:2], all_right, low)
    assert (reversed_["auroc"], reversed_["oscr"], reversed_["fpr95"], reversed_["detection_accuracy"]) == (
        0,
        0,
        1,
        0.5,
    )
    constant = metrics.open_set_metrics(np.zeros(2), all_right, np.zeros(6))
    share = {"aupr_in": 0.25, "aupr_out": 0.75, "fpr95": 1.0}
    assert constant == {"auroc": 0.5, "detection_accuracy": 0.5, "oscr": 0.5, **share}


def test_nothing_correct_gives_no_oscr():
    assert metrics.oscr(TIES[0], np.zeros(8, bool), TIES[1]) == 0.0


def test_fpr_at_a_share_reads_it_as_a_decimal():
    known = np.arange(100.0)
    # 100 * 0.07 is 7.000000000000001 in floats; the seventh score is enough all the same.
    assert 100 * 0.07 > 7
    assert metrics.fpr95(known, np.array([6.5]), tpr=0.07) == 0.0
    assert metrics.fpr95(known, np.array([5.5]), tpr=0.07) == 1.0
    assert metrics.fpr95(known, np.array([98.5]), tpr=1) == 1.0
    assert metrics.fpr95(known, known) == 0.95


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tensors_of_any_float_dtype(dtype):
    known = torch.tensor([0.0, 1.0, 1.0, 2.5], dtype=dtype, requires_grad=True)
    unknown = torch.tensor([1.0, 3.0], dtype=dtype)
    correct = torch.tensor([True, False, True, True])
    expected = metrics.open_set_metrics(known.detach().double().numpy(), correct.numpy(), unknown.double().numpy())
    assert metrics.open_set_metrics(known, correct, unknown) == expected
    assert metrics.auroc(known, unknown.double()) == expected["auroc"]


def test_half_precision_arrays():
    known, unknown = (part.astype(np.float16) for part in TIES)
    assert metrics.auroc(known, unknown) == 0.75


def test_scores_that_differ_only_in_float64_are_not_ties():
    known, unknown = np.array([1.0], np.float32), np.array([1 + 1e-12])
    assert metrics.auroc(known, unknown) == 1.0


def test_no_dtype_is_narrowed():
    assert metrics.auroc(torch.tensor([1.0]), torch.tensor([1 + 1e-6])) == 1.0
    large = torch.tensor([1e30, 1e32], dtype=torch.bfloat16)
    assert metrics.auroc(large[:1], large[1:]) == 1.0


def test_inputs_stay_as_they_are():
    known, unknown = TIES[0].copy()[::-1].copy(), TIES[1].copy()
    before = known.copy(), unknown.copy()
    metrics.open_set_metrics(known, CORRECT, unknown)
    np.testing.assert_array_equal(known, before[0])
    np.testing.assert_array_equal(unknown, before[1])


def test_a_million_scores_lose_nothing():
    # Half of all pairs tie; every count is known in closed form.
    known, unknown = np.repeat([0.0, 1.0], 250_000), np.repeat([1.0, 2.0], 250_000)
    assert metrics.auroc(known, unknown) == 0.875
    assert metrics.oscr(known, known == 1, unknown) == 0.375
    generator = np.random.default_rng(0)
    known, unknown = generator.normal(size=500_000), generator.normal(1, size=500_000)
    expected = roc_auc_score(np.r_[np.zeros(500_000), np.ones(500_000)], np.r_[known, unknown])
    assert metrics.auroc(known, unknown) == pytest.approx(expected, abs=1e-12)


def test_accuracy_with_rejection_counts_correct_and_accepted():
    accepted = np.array([1, 1, 0, 1, 1, 1, 1, 0], bool)
    expected = sum(p == y and a for p, y, a in zip(PREDICTIONS, LABELS, accepted, strict=True)) / 8
    assert metrics.accuracy_with_rejection(PREDICTIONS, LABELS, accepted) == expected == 0.5
    everything = np.ones(8, bool)
    assert metrics.accuracy_with_rejection(PREDICTIONS, LABELS, everything) == 0.75
    assert metrics.accuracy_with_rejection(*(torch.from_numpy(a) for a in (PREDICTIONS, LABELS, ~everything))) == 0.0


def test_macro_f1_by_hand():
    predictions, labels = torch.tensor([0, 0, -1, 1, -1]), torch.tensor([0, 1, -1, 1, 0])
    # F1 of 0: 2/4, of 1: 2/3, of unknown: 2/3.
    assert metrics.macro_f1(predictions, labels) == pytest.approx((2 / 4 + 2 / 3 + 2 / 3) / 3)


def test_macro_f1_averages_the_classes_that_occur():
    labels = np.array([0, 0, 3, 3])
    assert metrics.macro_f1(labels, labels) == 1.0
    # Class 7 is answered and never present: a fourth of four images right in a third class with F1 0.
    assert metrics.macro_f1(np.array([0, 0, 3, 7]), labels) == pytest.approx((1 + 2 / 3 + 0) / 3)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=40))
def test_macro_f1_and_accuracy_agree_with_scikit_learn(pairs):
    predictions, labels = np.array(pairs).T
    expected = f1_score(labels, predictions, average="macro", zero_division=0)
    assert metrics.macro_f1(predictions, labels) == pytest.approx(expected, abs=1e-12)
    known = labels >= 0
    if known.any():
        expected = (predictions[known] == labels[known]).mean()
        assert metrics.closed_accuracy(predictions[known], labels[known]) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_labels_of_any_integer_dtype(dtype):
    assert metrics.closed_accuracy(torch.from_numpy(PREDICTIONS).to(dtype), torch.from_numpy(LABELS)) == 0.75
    assert metrics.macro_f1(torch.from_numpy(PREDICTIONS).to(dtype), LABELS) == metrics.macro_f1(PREDICTIONS, LABELS)


GOOD = np.array([0.0, 1.0])
ALL_SCORES = [
    metrics.auroc,
    metrics.aupr_in,
    metrics.aupr_out,
    metrics.fpr95,
    metrics.detection_accuracy,
    lambda known, unknown: metrics.oscr(known, np.ones(len(known), bool), unknown),
]


@pytest.mark.parametrize("figure", ALL_SCORES)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.array([]), "no scores"),
        (np.array([1.0, math.nan]), "1 of 2 scores"),
        (torch.tensor([math.nan]), "1 of 1 scores"),
        (np.zeros((2, 1)), r"\(2, 1\)"),
        (np.array([1, 2]), "int64"),
        (torch.tensor([True]), "bool"),
        (np.array([1j]), "complex128"),
    ],
)
def test_bad_scores(figure, bad, message):
    with pytest.raises(ValueError, match=f"{message}.* known images|known images.*{message}"):
        figure(bad, GOOD)
    with pytest.raises(ValueError, match=f"{message}.* unknown images|unknown images.*{message}"):
        figure(GOOD, bad)


@pytest.mark.parametrize("bad", [np.ones(3, bool), np.ones((2, 1), bool), np.array([1, 0]), np.array([])])
def test_bad_masks(bad):
    with pytest.raises(ValueError, match=r"correct must be \(2,\) bool"):
        metrics.oscr(GOOD, bad, GOOD)
    with pytest.raises(ValueError, match=r"accepted must be \(2,\) bool"):
        metrics.accuracy_with_rejection(np.array([0, 1]), np.array([0, 1]), bad)


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        ([0, 1], [0, 1, 1], "one prediction a label"),
        ([], [], "predictions must be one integer"),
        (np.array([], int), np.array([], int), "no labels"),
        ([0.0, 1.0], [0, 1], "predictions must be one integer"),
        ([[0, 1]], [[0, 1]], r"\(1, 2\)"),
        ([0, 1], [0, -2], "labels are classes from 0 on"),
        ([0, -100], [0, 1], "found -100"),
    ],
)
@pytest.mark.parametrize("figure", [metrics.closed_accuracy, metrics.macro_f1])
def test_bad_labels(figure, predictions, labels, message):
    with pytest.raises(ValueError, match=message):
        figure(np.array(predictions), np.array(labels))


def test_accuracies_are_of_known_images():
    with pytest.raises(ValueError, match="1 of 2 labels are -1"):
        metrics.closed_accuracy(np.array([0, 1]), np.array([0, -1]))
    with pytest.raises(ValueError, match="1 of 2 labels are -1"):
        metrics.accuracy_with_rejection(np.array([0, 1]), np.array([0, -1]), np.array([True, True]))


@pytest.mark.parametrize("figure", [metrics.aupr_in, metrics.aupr_out])
def test_unknown_integration(figure):
    with pytest.raises(ValueError, match="simpson"):
        figure(GOOD, GOOD, integration="simpson")


@pytest.mark.parametrize("tpr", [0, -0.1, 1.01, math.nan])
def test_bad_share(tpr):
    with pytest.raises(ValueError, match="share of the known images"):
        metrics.fpr95(GOOD, GOOD, tpr=tpr)


@settings(deadline=None)
@given(finite_scores, finite_scores)
def test_fpr_rises_with_the_share(known, unknown):
    shares = [metrics.fpr95(known, unknown, tpr=tpr) for tpr in (0.1, 0.5, 0.9, 0.95, 1.0)]
    assert shares == sorted(shares)
