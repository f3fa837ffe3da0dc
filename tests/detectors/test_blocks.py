"""Blocks of rows, and the triangular map against the matrix that it stands for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.detectors import blocks
from backmix.detectors.blocks import TriangularMap, centred_blocks


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("given_dtype", [torch.float16, torch.float32, torch.float64])
def test_blocks_hold_every_row_once(monkeypatch, dtype, given_dtype):
    monkeypatch.setattr(blocks, "ROWS", 4)
    features = torch.randn(11, 3, generator=torch.Generator().manual_seed(0)).to(given_dtype)
    centre = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    found = torch.full((11, 3), torch.nan, dtype=dtype)
    for place, rows in centred_blocks(features, centre, dtype):
        assert rows.dtype == dtype and len(rows) <= 4 and found[place].isnan().all()
        found[place] = rows
    assert torch.equal(found, (features.double() - centre).to(dtype))
    assert list(centred_blocks(features[:0], centre, dtype)) == []


def test_the_difference_is_taken_before_rounding():
    features = torch.tensor([[1e9 + 0.25]], dtype=torch.float64)
    ((_, rows),) = centred_blocks(features, torch.tensor([1e9], dtype=torch.float64), torch.float32)
    assert rows.item() == 0.25


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12), st.integers(1, 5))
def test_lengths_and_distances_are_those_of_the_matrix(seed, channels, wide, panel):
    random = torch.Generator().manual_seed(seed)
    matrix = torch.randn(channels, wide, generator=random, dtype=torch.float64)
    rows = torch.randn(6, channels, generator=random, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "PANEL", panel)
        triangular = TriangularMap(matrix)
        space = torch.empty(9, triangular.matrix.shape[1], dtype=torch.float64)
        mapped = triangular(rows, space)
        single = triangular(rows.float(), space.float())
    assert torch.equal(triangular.matrix, triangular.matrix.tril()) and mapped.shape == (6, min(channels, wide))
    torch.testing.assert_close(mapped @ mapped.T, rows @ matrix @ matrix.T @ rows.T, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(single, mapped.float(), rtol=1e-4, atol=1e-4)
