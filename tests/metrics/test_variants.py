from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.metrics import figures as metrics
from backmix.metrics import variants as variants

CORRECT = np.array([0, 1, 2, 0, 1, 2, 0, 1]) == np.array([0, 1, 2, 0, 2, 2, 1, 1])
TIES = (
    -np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3]),
    -np.array([0.75, 0.6, 0.5, 0.4, 0.2, 0.1]),
)
NO_TIES = (
    -np.array([0.95, 0.85, 0.80, 0.70, 0.65, 0.55, 0.45, 0.30]),
    -np.array([0.75, 0.60, 0.50, 0.40, 0.20, 0.10]),
)
scores = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=20).map(np.array)
different = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=30, unique=True).map(np.array)


def slow_steps(known, unknown):
    """Accepted (known, unknown) after each image, unknown ones first among equal scores."""
    images = sorted([(score, True) for score in known] + [(score, False) for score in unknown])
    hits = alarms = 0
    yield 0, 0
    for _, is_known in images:
        hits, alarms = hits + is_known, alarms + (not is_known)
        yield hits, alarms


def slow_area(points):
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))


def slow_aupr_in_arpl(known, unknown):
    steps = slow_steps(known, unknown)
    return slow_area([(hits / len(known), hits / max(hits + alarms, 1)) for hits, alarms in steps])


def slow_aupr_out_arpl(known, unknown):
    left = [(len(known) - hits, len(unknown) - alarms) for hits, alarms in slow_steps(known, unknown)][::-1]
    return slow_area([(alarms / len(unknown), alarms / max(hits + alarms, 1)) for hits, alarms in left])


def slow_oscr_arpl(known, correct, unknown):
    images = [(-score, bool(hit), False) for score, hit in zip(known, correct, strict=True)]
    images = sorted(images + [(-score, False, True) for score in unknown], key=lambda image: image[0])
    points = [(0.0, 0.0), (0.0, 0.0), (1.0, 1.0)]
    for k in range(len(images) - 1):
        hits = sum(hit for _, hit, _ in images[k + 1 :])
        points.append((sum(other for _, _, other in images[k:]) / len(unknown), hits / len(known)))
    return slow_area(sorted(points))


def slow_oscr_cssr(known, correct, unknown):
    points = [(0.0, 0.0), (1.0, 1.0)]
    for t in {*known, *unknown}:
        points.append((np.mean(unknown < t), np.mean((known < t) & correct)))
    return slow_area(sorted(points))


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (TIES, (0.729167, 0.745915, 0.622306, 0.666667, 0.562500, 0.625000)),
        (NO_TIES, (0.770833, 0.769832, 0.660435, 0.666667, 0.572917, 0.625000)),
    ],
    ids=["ties", "no-ties"],
)
def test_known_answers(sample, expected):
    known, unknown = sample
    found = (
        variants.auroc_arpl(known, unknown),
        variants.aupr_in_arpl(known, unknown),
        variants.aupr_out_arpl(known, unknown),
        variants.fpr95_cssr(known, unknown),
        variants.oscr_arpl(known, CORRECT, unknown),
        variants.oscr_cssr(known, CORRECT, unknown),
    )
    assert [round(value, 6) for value in found] == list(expected)


def test_end_point_at_full_accuracy_is_the_difference_to_the_rank_form():
    over = variants.oscr_cssr(NO_TIES[0], CORRECT, NO_TIES[1]) - metrics.oscr(NO_TIES[0], CORRECT, NO_TIES[1])
    assert over == pytest.approx(0.25 / 12)


def test_large_sets_without_ties_agree_with_the_definitions():
    generator = np.random.default_rng(0)
    known, unknown = -generator.normal(1, 1, 2000), -generator.normal(0, 1, 2000)
    correct = generator.random(2000) < 0.9
    rank = metrics.oscr(known, correct, unknown)
    assert variants.oscr_arpl(known, correct, unknown) == pytest.approx(rank, abs=2e-4)
    assert variants.oscr_cssr(known, correct, unknown) == pytest.approx(rank, abs=2e-4)
    assert variants.aupr_in_arpl(known, unknown) == pytest.approx(metrics.aupr_in(known, unknown), abs=1e-3)
    assert variants.aupr_out_arpl(known, unknown) == pytest.approx(metrics.aupr_out(known, unknown), abs=1e-3)
    assert variants.fpr95_cssr(known, unknown) == metrics.fpr95(known, unknown)


@settings(deadline=None)
@given(scores, scores, st.integers(0, 2**32 - 1))
def test_agrees_with_slow_references(known, unknown, seed):
    correct = np.random.default_rng(seed).random(len(known)) < 0.7
    pairs = [a < b for a in known for b in unknown]
    assert variants.auroc_arpl(known, unknown) == pytest.approx(sum(pairs) / len(pairs))
    assert variants.aupr_in_arpl(known, unknown) == pytest.approx(slow_aupr_in_arpl(known, unknown))
    assert variants.aupr_out_arpl(known, unknown) == pytest.approx(slow_aupr_out_arpl(known, unknown))
    assert variants.oscr_arpl(known, correct, unknown) == pytest.approx(slow_oscr_arpl(known, correct, unknown))
    assert variants.oscr_cssr(known, correct, unknown) == pytest.approx(slow_oscr_cssr(known, correct, unknown))


@settings(deadline=None)
@given(different)
def test_without_ties_the_areas_under_the_roc_agree(values):
    known, unknown = values[::2], values[1::2]
    assert variants.auroc_arpl(known, unknown) == pytest.approx(metrics.auroc(known, unknown), abs=1e-12)


def test_nearest_share_may_fall_short_of_the_one_asked():
    known, unknown = np.arange(1.0, 11.0), np.array([9.5, 20.0])
    # Nine of ten are nearer to 0.91 than ten of ten; the strict figure takes all ten.
    assert variants.fpr95_cssr(known, unknown, tpr=0.91) == 0.0
    assert metrics.fpr95(known, unknown, tpr=0.91) == 0.5
    assert variants.fpr95_cssr(known, unknown, tpr=0.01) == 0.0


def test_bad_input():
    good = np.array([0.0, 1.0])
    for figure in (variants.auroc_arpl, variants.aupr_in_arpl, variants.aupr_out_arpl, variants.fpr95_cssr):
        with pytest.raises(ValueError, match="1 of 2 scores of unknown images are NaN"):
            figure(good, np.array([0.0, np.nan]))
    for figure in (variants.oscr_arpl, variants.oscr_cssr):
        with pytest.raises(ValueError, match=r"correct must be \(2,\) bool"):
            figure(good, np.array([1, 0]), good)
        with pytest.raises(ValueError, match="no scores of known"):
            figure(good[:0], np.ones(0, bool), good)
    with pytest.raises(ValueError, match=r"got 1\.5"):
        variants.fpr95_cssr(good, good, tpr=1.5)
