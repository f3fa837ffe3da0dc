import json
import math
import statistics
from decimal import Decimal
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.threshold.conformal import ConformalThreshold, min_held_out, most_accepted, rank_of_threshold

score = st.one_of(
    st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, allow_nan=False), st.sampled_from([math.inf, -math.inf])
)
scores = st.lists(score, min_size=1, max_size=40)
# Shares as people write them: decimals, which floats only come near to.
shares = st.integers(1, 999).map(lambda thousandths: thousandths / 1000)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def slow_rank(held_out, accept):
    """Smallest k with k >= (n + 1) * accept, counted up in exact arithmetic."""
    k = 0
    while k < (held_out + 1) * Fraction(str(accept)):
        k += 1
    return k


def test_known_answers():
    values = torch.arange(19.0).flip(0)
    # k = ceil(20 * 0.95) = 19 of 19; one score fewer and it would be 19 of 18.
    assert ConformalThreshold.fit(values, 0.95).threshold == 18.0
    assert ConformalThreshold.fit(values[:18], 0.95).threshold == math.inf
    assert ConformalThreshold.fit(values, 0.5).threshold == 9.0
    assert ConformalThreshold.fit(torch.arange(99.0), 0.9).threshold == 89.0
    assert ConformalThreshold.fit(torch.arange(99.0), 0.07).threshold == 6.0
    assert 100 * 0.07 > 7


@settings(deadline=None)
@given(scores, shares)
def test_threshold_is_the_kth_smallest(held_out, accept):
    k = slow_rank(len(held_out), accept)
    assert rank_of_threshold(len(held_out), accept) == k
    expected = sorted(held_out)[k - 1] if k <= len(held_out) else math.inf
    assert ConformalThreshold.fit(tensor(held_out), accept).threshold == expected


@settings(deadline=None)
@given(scores, scores, shares)
def test_accepted_is_a_p_value_above_alpha(held_out, new, accept):
    rule = ConformalThreshold.fit(tensor(held_out), accept)
    edges = [score + rule.tolerance for score in held_out]
    beside = [math.nextafter(edge, way) for edge in edges for way in (-math.inf, math.inf)]
    new = [*new, *held_out, *edges, *beside, math.inf, -math.inf]
    slow = [Fraction(1 + sum(h >= s - rule.tolerance for h in held_out), len(held_out) + 1) for s in new]
    exact_alpha = 1 - Fraction(str(accept))
    accepted, p_values = rule.accept(tensor(new)), rule.p_value(tensor(new))
    assert accepted.tolist() == [p > exact_alpha for p in slow]
    assert p_values.tolist() == [float(p) for p in slow]
    assert accepted.tolist() == (p_values > rule.alpha).tolist()
    assert rule.alpha == float(exact_alpha)


@settings(deadline=None)
@given(scores, scores, shares)
def test_the_tolerance_accepts_more_and_makes_no_p_value_smaller(held_out, new, accept):
    """The promise of the rule without it is the promise of the rule with it."""
    rule = ConformalThreshold.fit(tensor(held_out), accept)
    new = [*new, *held_out]
    plain = [(1 + sum(h >= s for h in held_out)) / (len(held_out) + 1) for s in new]
    assert rule.accept(tensor(new))[tensor(new) <= rule.threshold].all()
    assert all(found >= least for found, least in zip(rule.p_value(tensor(new)).tolist(), plain, strict=True))


@settings(deadline=None)
@given(scores)
def test_the_tolerance_is_a_hundred_thousandth_of_the_spread_or_a_millionth_of_the_largest(held_out):
    exact = [Fraction(value) for value in held_out if math.isfinite(value)]
    mean = sum(exact, Fraction()) / max(1, len(exact))
    variance = sum(((value - mean) ** 2 for value in exact), Fraction()) / max(1, len(exact))
    # Decimals have no smallest exponent that matters here: hypothesis draws differences whose squares floats lack.
    deviation = (Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt()
    found = ConformalThreshold.fit(tensor(held_out)).tolerance
    largest = max((abs(value) for value in held_out if math.isfinite(value)), default=0.0)
    assert found == pytest.approx(max(1e-5 * float(deviation), 1e-6 * largest), rel=1e-12, abs=5e-324)
    assert ConformalThreshold.fit(tensor(held_out[::-1])).tolerance == found


@pytest.mark.parametrize(
    ("held_out", "largest"),
    [
        ([0.1], 0.1),
        ([0.1] * 7, 0.1),
        ([-1e300] * 3, 1e300),
        ([math.inf], 0.0),
        ([-math.inf, math.inf], 0.0),
        ([2.5, math.inf, -math.inf], 2.5),
        ([0.0] * 4, 0.0),
    ],
)
def test_without_spread_the_tolerance_is_a_millionth_of_the_largest(held_out, largest):
    assert ConformalThreshold.fit(tensor(held_out), 0.1).tolerance == 1e-6 * largest


def test_without_a_tolerance_the_next_number_above_the_threshold_is_rejected():
    rule = ConformalThreshold.fit(tensor([0.0] * 9), 0.9)
    assert rule.accept(tensor([0.0, math.nextafter(0.0, 1)])).tolist() == [True, False]
    assert rule.p_value(tensor([0.0, math.nextafter(0.0, 1)])).tolist() == [1.0, 0.1]


def test_scores_near_one_that_differ_by_little_are_equal_up_to_the_rounding_of_float32():
    # Cosines to a class mean: values near -1, a spread of 1e-3, of which 1e-5 is 1e-8. One step of float32 is 6e-8.
    values = -0.99 + 1e-3 * torch.randn(200, generator=torch.Generator().manual_seed(0))
    rule = ConformalThreshold.fit(values, 0.9)
    at = torch.tensor(rule.threshold, dtype=torch.float32)
    for _ in range(4):  # Sums of another order differ by a few steps.
        at = torch.nextafter(at, torch.tensor(0.0))
    assert rule.accept(at[None]).item()
    assert not rule.accept(at[None] + 2e-6).item()
    assert rule.p_value(at[None]) == rule.p_value(tensor([rule.threshold]))


def test_the_largest_numbers_have_a_tolerance_too():
    rule = ConformalThreshold.fit(tensor([-1.7e308, 1.7e308, math.inf]), 0.25)
    assert rule.tolerance == pytest.approx(1.7e303)
    assert rule.accept(tensor([-1.7e308, 1.7e308, math.inf, -math.inf])).tolist() == [True, False, False, True]


@pytest.mark.parametrize("accept", [0.5, 0.9, 0.95])
@pytest.mark.parametrize(("centre", "spread"), [(0.0, 1.0), (-30.0, 4.0), (1e-6, 1e-9), (5e4, 1e3)])
def test_the_image_that_is_the_threshold_is_accepted_when_its_last_digits_change(accept, centre, spread):
    """Asked again in another batch or an exported file, its score may come out higher, and nothing has changed."""
    values = centre + spread * torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rule = ConformalThreshold.fit(values, accept)
    deviation = statistics.pstdev(values.tolist())
    again = rule.threshold + 1e-7 * deviation
    assert again > rule.threshold
    assert rule.accept(tensor([again])).item() and rule.p_value(tensor([again])).item() > rule.alpha
    assert rule.p_value(tensor([again])).item() == rule.p_value(tensor([rule.threshold])).item()
    # A rule that accepted everything would pass the lines above.
    beyond = rule.threshold + 1.1 * rule.tolerance
    assert not rule.accept(tensor([beyond])).item() and rule.p_value(tensor([beyond])).item() <= rule.alpha


@settings(deadline=None)
@given(scores, shares)
def test_round_trip_is_exact(held_out, accept):
    rule = ConformalThreshold.fit(tensor(held_out), accept)
    text = json.dumps(rule.to_dict(), allow_nan=False)
    again = ConformalThreshold.from_dict(json.loads(text))
    assert [s.hex() for s in again.scores.tolist()] == [s.hex() for s in rule.scores.tolist()]
    assert (again.accept_share, again.threshold) == (rule.accept_share, rule.threshold)
    assert again.tolerance == rule.tolerance
    assert json.dumps(again.to_dict()) == text


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=12), shares)
def test_leave_one_out_rejects_at_most_alpha(values, accept):
    """The guarantee itself, exactly: over which of n + 1 exchangeable images is the new one."""
    rejected = 0
    for i in range(len(values)):
        rule = ConformalThreshold.fit(tensor(values[:i] + values[i + 1 :]), accept)
        rejected += not rule.accept(tensor([values[i]])).item()
    alpha = 1 - Fraction(str(accept))
    assert Fraction(rejected, len(values)) <= alpha
    if len(set(values)) == len(values):
        assert Fraction(rejected, len(values)) >= alpha - Fraction(1, len(values))


def test_random_splits_reject_at_most_alpha_and_p_values_are_super_uniform():
    generator = torch.Generator().manual_seed(0)
    held_out, new, splits, accept = 60, 40, 600, 0.9
    rejected, small = [], {q: [] for q in (0.02, 0.1, 0.25, 0.5)}
    for _ in range(splits):
        values = torch.randn(held_out + new, generator=generator, dtype=torch.float64)
        # Rounding to tenths makes ties.
        values = (values * 10).round() / 10
        rule = ConformalThreshold.fit(values[:held_out], accept)
        rejected.append((~rule.accept(values[held_out:])).double().mean())
        p_values = rule.p_value(values[held_out:])
        for q, shares_below in small.items():
            shares_below.append((p_values <= q).double().mean())
    for q, found in ((1 - accept, rejected), *small.items()):
        found = torch.stack(found)
        margin = 4 * float(found.std()) / math.sqrt(splits)
        assert float(found.mean()) <= q + margin
        # A rule that rejected nothing would pass the line above.
        assert float(found.mean()) >= q - 0.05


def test_threshold_of_float32_scores_accepts_them_at_any_precision():
    values = torch.rand(50, generator=torch.Generator().manual_seed(0))
    rule = ConformalThreshold.fit(values, 0.5)
    assert rule.scores.dtype == torch.float64
    assert int(rule.accept(values).sum()) == int(rule.accept(values.double()).sum()) == 26
    # Half precision would round the threshold; the score is widened instead.
    edge = tensor([rule.threshold])
    half = edge.half()
    assert rule.accept(half).item() == (half.double() - rule.tolerance <= edge).item()


def test_order_of_the_held_out_images_does_not_matter():
    values = torch.rand(30, generator=torch.Generator().manual_seed(0))
    assert ConformalThreshold.fit(values).to_dict() == ConformalThreshold.fit(values.flip(0)).to_dict()


def test_fitting_leaves_the_scores_as_they_are():
    values = tensor([3.0, 1.0, 2.0])
    rule = ConformalThreshold.fit(values, 0.5)
    values[:] = 0
    assert rule.scores.tolist() == [1.0, 2.0, 3.0]


def test_an_empty_batch_is_answered():
    rule = ConformalThreshold.fit(torch.rand(20))
    assert rule.accept(torch.empty(0)).shape == rule.p_value(torch.empty(0)).shape == (0,)
    assert rule.accept(torch.empty(0)).dtype == torch.bool


@pytest.mark.parametrize(("accept", "needed"), [(0.95, 19), (0.9, 9), (0.99, 99), (0.5, 1), (0.1, 1), (0.999, 999)])
def test_fewest_held_out_images(accept, needed):
    assert min_held_out(accept) == needed
    assert math.isfinite(ConformalThreshold.fit(torch.arange(float(needed)), accept).threshold)
    if needed > 1:
        assert ConformalThreshold.fit(torch.arange(float(needed - 1)), accept).threshold == math.inf


@given(st.integers(1, 20_000))
def test_the_largest_share_that_the_images_allow(held_out):
    most = most_accepted(held_out)
    assert min_held_out(most) <= held_out and most <= held_out / (held_out + 1) < most + 1e-3
    assert rank_of_threshold(held_out, most) <= held_out


def test_the_largest_share_of_some_images():
    assert [most_accepted(held_out) for held_out in (1, 2, 19, 84, 99, 999)] == [0.5, 0.666, 0.95, 0.988, 0.99, 0.999]
    with pytest.raises(ValueError, match="must be a held-out image"):
        most_accepted(0)


def test_too_few_images_accept_all_and_say_so():
    rule = ConformalThreshold.fit(torch.arange(10.0), 0.95)
    assert rule.accept(tensor([-math.inf, 1e300, math.inf])).all()
    assert (rule.p_value(tensor([math.inf])) > rule.alpha).all()
    assert "at least 19 held-out known images, and there are 10" in rule.note and "0.909 or less" in rule.note
    assert ConformalThreshold.fit(torch.arange(19.0), 0.95).note is None


@pytest.mark.parametrize("accept", [0, 1, -0.1, 1.5, math.nan, math.inf])
def test_bad_share(accept):
    with pytest.raises(ValueError, match="above 0 and below 1"):
        ConformalThreshold.fit(torch.rand(5), accept)
    with pytest.raises(ValueError, match="above 0 and below 1"):
        min_held_out(accept)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.tensor([1.0, math.nan]), "1 of 2 unknown scores are NaN"),
        (torch.rand(3, 1), r"\(3, 1\)"),
        (torch.tensor(1.0), r"got \(\)"),
        (torch.tensor([1, 2]), "int64"),
        ([0.5], "got list"),
    ],
)
def test_bad_scores(bad, message):
    rule = ConformalThreshold.fit(torch.rand(5))
    for call in (ConformalThreshold.fit, rule.accept, rule.p_value):
        with pytest.raises(ValueError, match=message):
            call(bad)


def test_no_scores():
    with pytest.raises(ValueError, match="hold out at least one"):
        ConformalThreshold.fit(torch.empty(0))


def test_direct_construction_is_checked():
    with pytest.raises(ValueError, match="ascending"):
        ConformalThreshold(tensor([2.0, 1.0]), 0.95)
    with pytest.raises(ValueError, match="float64"):
        ConformalThreshold(torch.tensor([1.0, 2.0]), 0.95)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accept": 0.9}, "threshold was altered"),
        ({"accept": 0.949999}, "sha256"),
        ({"accept": 1.5}, "above 0 and below 1"),
        ({"accept": True}, "accept of a threshold"),
        ({"accept": None}, "accept of a threshold"),
        ({"rule": "quantile"}, "only rule"),
        ({"held_out": 18}, "held_out"),
        ({"threshold": 17.5}, "threshold is 17.5"),
        ({"threshold": "inf"}, "threshold is 'inf'"),
        ({"scores": [0.0]}, "held_out"),
        ({"scores": []}, "hold out at least one"),
        ({"scores": {}}, "are a list"),
        ({"scores": [*map(float, range(18)), 18.5]}, "threshold"),
        ({"scores": [0.5, *map(float, range(1, 19))]}, "sha256"),
        ({"scores": [1.0, 0.0, *map(float, range(2, 19))]}, "ascending"),
        ({"scores": [0.0, "1.0"]}, "scores of a threshold"),
        ({"scores": [0.0, math.nan]}, "scores of a threshold"),
        ({"scores": [0.0, 10**400]}, "scores of a threshold"),
        ({"sha256": "0" * 64}, "sha256"),
        ({"more": 1}, "has the entries"),
    ],
)
def test_altered_content(change, message):
    content = ConformalThreshold.fit(torch.arange(19.0)).to_dict()
    with pytest.raises(ValueError, match=message):
        ConformalThreshold.from_dict(content | change)


def test_missing_content():
    content = ConformalThreshold.fit(torch.arange(19.0)).to_dict()
    for name in content:
        with pytest.raises(ValueError, match="has the entries"):
            ConformalThreshold.from_dict({key: value for key, value in content.items() if key != name})
    for nothing in ({}, [], None, "threshold"):
        with pytest.raises(ValueError, match="has the entries"):
            ConformalThreshold.from_dict(nothing)
