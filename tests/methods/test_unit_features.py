"""Features of length 1, at any size, and the checks that the detectors on them share."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.detectors import OURS
from backmix.methods.unit_features import BLOCK, check_training, unit_blocks, unit_class_means, unit_rows

sharing = pytest.mark.parametrize("name", ["cosine_mean", "cosine_knn", "shrunk_mahalanobis"])


def test_known_answers():
    rows = unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]]))
    assert rows.dtype == torch.float64
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]], dtype=torch.float64))


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3).filter(lambda x: not 0 < abs(x) < 1e-3), min_size=1, max_size=6),
    st.integers(-290, 290),
)
def test_length_is_1_at_any_size(row, power):
    values = torch.tensor([row], dtype=torch.float64)
    expected = values / values.norm() if any(row) else values
    torch.testing.assert_close(unit_rows(values * 10.0**power), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_dtype_and_the_input_stays(dtype):
    features = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    before = features.clone()
    assert torch.equal(unit_rows(features), unit_rows(features.double())) and torch.equal(features, before)


def test_a_number_that_is_not_finite_breaks_its_row_alone():
    rows = unit_rows(torch.tensor([[1.0, float("nan")], [float("inf"), 1.0], [1.0, 0.0]]))
    assert rows[:2].isnan().any(1).all() and rows[2].tolist() == [1, 0]


def test_blocks_hold_all_rows_in_order():
    features = torch.randn(2 * BLOCK + 3, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(len(features)) % 3
    blocks = list(unit_blocks(features, labels))
    assert [len(rows) for rows, _ in blocks] == [BLOCK, BLOCK, 3]
    assert torch.equal(torch.cat([rows for rows, _ in blocks]), unit_rows(features))
    assert torch.equal(torch.cat([own for _, own in blocks]), labels)
    means = unit_class_means(features, labels, 3)
    expected = torch.stack([unit_rows(features)[labels == k].mean(0) for k in range(3)])
    torch.testing.assert_close(means, expected, rtol=0, atol=1e-14)


GOOD = torch.zeros(4, 2), torch.ones(4, 3), torch.tensor([0, 1, 0, 1])
BROKEN = torch.ones(4, 3)
BROKEN[1, 2], BROKEN[3, 0] = float("nan"), float("-inf")


@sharing
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({0: torch.zeros(3, 2)}, r"belong to the same N images; got \(3, 2\), \(4, 3\) and \(4,\)"),
        ({0: torch.zeros(4)}, "belong to the same N images"),
        ({2: torch.zeros(4, 1).long()}, "belong to the same N images"),
        ({1: torch.ones(4, 3, 1)}, r"features must be \(B, C\) float.*got \(4, 3, 1\)"),
        ({1: torch.ones(4, 0)}, r"features must be \(B, C\) float"),
        ({1: torch.ones(4, 3).long()}, r"features must be \(B, C\) float.*int64"),
        ({0: torch.zeros(4, 3)}, "no training image of class number 2; every known class needs one"),
        ({2: torch.tensor([0, 1, -1, 1])}, "training images have labels 0 to 1; got -1"),
        ({1: BROKEN}, "the features of 2 of 4 training images are not finite"),
    ],
)
def test_bad_training_images_are_named(name, changed, says):
    check_training(name, *GOOD)
    given = [changed.get(at, value) for at, value in enumerate(GOOD)]
    with pytest.raises(ValueError, match=f"^{name}: .*{says}"):
        OURS[name]().fit(*given)
