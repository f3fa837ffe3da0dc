"""The k-th nearest row against a sort of differences in float64, in blocks of any size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from backmix.detectors import nearest
from backmix.detectors.nearest import NearestRows


def some_rows(count, channels=8, seed=0, unit=True):
    rows = torch.randn(count, channels, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows) if unit else 1 + rows


def slow(rows, kept, k):
    return (rows.double()[:, None] - kept.double()).square().sum(2).sqrt().sort(1).values[:, k - 1]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(1, 700),
    st.integers(1, 30),
    st.integers(1, 40),
    st.integers(2, 6),
    st.booleans(),
)
def test_agrees_with_a_sort_whatever_the_blocks(seed, count, k, columns, group, unit):
    kept, rows = some_rows(count, seed=seed, unit=unit), some_rows(9, seed=seed + 1, unit=unit)
    k = min(k, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "KEPT", columns * 20)
        patch.setattr(nearest, "PRODUCTS", 50 * columns)
        patch.setattr(nearest, "GROUP", group)
        found = NearestRows(kept).kth_distance(rows, k)
    torch.testing.assert_close(found, slow(rows, kept, k), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spread", [1e-2, 1e-4, 1e-6])
def test_rows_too_close_for_float32_are_told_apart(spread):
    centre = some_rows(1, 64, unit=False)
    kept = centre + spread * some_rows(2000, 64, seed=1)
    rows = centre + spread * some_rows(50, 64, seed=2)
    for k in (1, 40, 2000):
        found = NearestRows(kept).kth_distance(rows, k)
        torch.testing.assert_close(found, slow(rows, kept, k), rtol=1e-6, atol=0)


def test_float64_is_used_where_it_must_and_not_elsewhere(monkeypatch):
    seen = []
    plain = NearestRows._largest

    def recorded(self, rows, k, space):
        seen.append((rows.dtype, len(rows)))
        return plain(self, rows, k, space)

    monkeypatch.setattr(NearestRows, "_largest", recorded)
    kept, rows = some_rows(3000, 256), some_rows(40, 256, seed=1)
    NearestRows(kept).kth_distance(rows, 50)
    assert seen == [(torch.float32, 40)]
    seen.clear()
    kept[:200] = rows[7]  # Two hundred copies of one row: it cannot be told which is the 50th, nor need it be.
    assert NearestRows(kept).kth_distance(rows, 50)[7] == 0
    assert seen == [(torch.float32, 40), (torch.float64, 1)]


def test_numbers_too_large_for_float32_products():
    kept = 1e25 * some_rows(30, unit=False)
    rows = 1e25 * some_rows(5, seed=1, unit=False)
    torch.testing.assert_close(NearestRows(kept).kth_distance(rows, 3), slow(rows, kept, 3), rtol=1e-9, atol=0)


def test_less_precise_products_are_not_trusted():
    kept, rows = some_rows(3000, 64), some_rows(20, 64, seed=1)
    expected = NearestRows(kept).kth_distance(rows, 10)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = NearestRows(kept).kth_distance(rows, 10)
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


class Largest(TorchDispatchMode):
    """The largest number of values in one result."""

    values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.values = max(self.values, result.numel())
        return result


def test_memory_does_not_grow_with_rows_times_kept_rows(monkeypatch):
    monkeypatch.setattr(nearest, "PRODUCTS", 2**16)
    monkeypatch.setattr(nearest, "KEPT", 2**12)
    kept = NearestRows(some_rows(9000))
    with Largest() as scoring:
        kept.kth_distance(some_rows(600, seed=1), 20)
    # All products at once would be 600 x 9000. Rows of products are rounded up to `ALIGNED`.
    assert scoring.values <= 2**16 * 1.1


@pytest.mark.parametrize("factor", [1e7, 1e10, 1e12, 1e18])
def test_a_row_of_another_length_changes_no_other_distance(factor):
    kept = some_rows(2000, 64, unit=False)
    kept[0] *= factor
    rows = some_rows(30, 64, seed=1, unit=False)
    for k in (1, 5, 1999, 2000):
        found = NearestRows(kept).kth_distance(rows, k)
        torch.testing.assert_close(found, slow(rows, kept, k), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("count", "k"), [(7, 7), (7, 6), (300, 300)])
def test_products_too_large_for_float32(count, k):
    kept = torch.ones(count, 4) * torch.tensor([1e20, 1.1e20, *range(1, count - 1)])[:, None]
    rows = torch.full((2, 4), 1e20)
    torch.testing.assert_close(NearestRows(kept).kth_distance(rows, k), slow(rows, kept, k), rtol=1e-9, atol=0)


def test_the_mean_takes_no_copy_of_all_rows_in_float64():
    class Largest(TorchDispatchMode):
        bytes = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if (kwargs or {}).get("dtype") == torch.float64:  # A sum or mean copies what it is given.
                copied = [8 * each.numel() for each in args if isinstance(each, torch.Tensor)]
                self.bytes = max([self.bytes, *copied])
            return out

    kept = some_rows(50_000, 16)
    with Largest() as largest:
        NearestRows(kept)
    assert 0 < largest.bytes < kept.numel()  # An eighth of a copy.
