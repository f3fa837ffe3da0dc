"""Grown and faded masks, against loops over every pixel."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.audit.edges import edge_width, grow, soft_edge


def around(masks, item, y, x, by):
    height, width = masks.shape[1:]
    rows = range(max(0, y - by), min(height, y + by + 1))
    columns = range(max(0, x - by), min(width, x + by + 1))
    return [bool(masks[item, r, c]) for r in rows for c in columns]


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 4), st.floats(0.02, 0.5))
def test_grow_and_soft_edge_are_what_loops_give(seed, by, share):
    masks = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(seed)) < share
    grown, soft = grow(masks, by), soft_edge(masks, by)
    for item in range(2):
        for y in range(8):
            for x in range(8):
                near = around(masks, item, y, x, by)
                assert bool(grown[item, y, x]) == any(near)
                wanted = 1.0 if masks[item, y, x] else sum(near) / len(near)
                assert abs(float(soft[item, y, x]) - wanted) < 1e-6


def test_an_edge_is_one_pixel_for_every_64():
    assert [edge_width(size) for size in (16, 32, 64, 128, 224, 384)] == [1, 1, 1, 2, 4, 6]


def test_grow_by_nothing_is_the_mask():
    masks = torch.eye(8, dtype=torch.bool)[None]
    assert torch.equal(grow(masks, 0), masks)


def test_soft_edge_keeps_a_line_of_one_pixel_and_ends_where_it_says():
    masks = torch.zeros(1, 32, 32, dtype=torch.bool)
    masks[0, 16] = True
    soft = soft_edge(masks, 3)[0]
    assert bool((soft[16] == 1).all()) and bool((soft[13:16] > 0).all()) and bool((soft[:13] == 0).all())
    assert soft.max() == 1 and soft.dtype == torch.float32
