"""Objects are gone, and what stands there is background; grown and faded masks are what loops over pixels give."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.audit.filling import (
    RING,
    UNSEEN,
    best_shifts,
    blend,
    edge_width,
    fill_holes,
    grow,
    smooth,
    soft_edge,
    without_object,
)


def stripes(size, period=6):
    """(1, 3, S, S) uint8 diagonal stripes of two colours."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    dark = ((y + x) // (period // 2)) % 2 == 0
    colours = torch.where(dark, 60, 200).to(torch.uint8)
    return torch.stack([colours, colours // 2, 255 - colours])[None]


def square(size, top, left, side):
    mask = torch.zeros(1, size, size, dtype=torch.bool)
    mask[0, top : top + side, left : left + side] = True
    return mask


def slow_cost(image, hole, hidden, dy, dx):
    size = image.shape[-1]
    ring_error = ring_count = uncovered = holes = 0
    for y in range(size):
        for x in range(size):
            near = hole[max(0, y - RING) : y + RING + 1, max(0, x - RING) : x + RING + 1]
            there = 0 <= y + dy < size and 0 <= x + dx < size and not hidden[y + dy, x + dx]
            if hole[y, x]:
                holes += 1
                uncovered += not there
            elif near.any():
                ring_count += 1
                difference = image[:, y, x].long() - image[:, y + dy, x + dx].long() if there else None
                ring_error += UNSEEN if difference is None else int(difference.square().sum())
    if uncovered == holes:
        return float("inf")
    return ring_error / max(1, ring_count) + UNSEEN * uncovered / holes


@settings(max_examples=3)
@given(st.integers(0, 10**6))
def test_the_best_shift_is_the_one_that_loops_find(seed):
    random = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (1, 3, 7, 7), generator=random, dtype=torch.uint8)
    hole = square(7, 1 + seed % 3, 2, 3)
    hidden = hole | square(7, 5, 0, 2)
    shift, useful = best_shifts(image, hole, hidden)
    steps = [*range(7), *range(-6, 0)]  # In the order in which equal costs count.
    costs = {(dy, dx): slow_cost(image[0], hole[0], hidden[0], dy, dx) for dy in steps for dx in steps}
    best = min(((costs[dy, dx], steps.index(dy), steps.index(dx)), (dy, dx)) for dy in steps for dx in steps)[1]
    assert useful.item() and tuple(shift[0].tolist()) == best


def test_a_pattern_goes_on_where_the_object_was():
    image = stripes(48)
    mask = square(48, 18, 16, 12)
    spoilt = torch.where(mask[:, None], torch.tensor(7, dtype=torch.uint8), image)
    assert torch.equal(without_object(spoilt, mask), image)


def test_light_that_changes_across_the_picture_leaves_no_step():
    ramp = torch.arange(64).view(1, 1, 1, 64) * 3
    image = (30 + ramp).expand(1, 3, 64, 64).to(torch.uint8)
    mask = square(64, 22, 22, 20)
    filled = without_object(torch.where(mask[:, None], torch.tensor(255, dtype=torch.uint8), image), mask)
    assert (filled.int() - image.int()).abs().max() <= 8


@settings(max_examples=6)
@given(st.integers(0, 10**6), st.sampled_from([16, 33, 64]))
def test_nothing_of_the_object_is_left_and_nothing_far_from_it_is_changed(seed, size):
    random = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, 3, size, size), generator=random, dtype=torch.uint8)
    masks = torch.cat([square(size, 3, 2, 5), square(size, 0, 0, size - 3), square(size, size // 2, 4, size // 3)])
    other = torch.randint(0, 256, image.shape, generator=random, dtype=torch.uint8)
    result = without_object(image, masks)
    assert torch.equal(result, without_object(torch.where(masks[:, None], other, image), masks))
    far = ~torch.nn.functional.max_pool2d(masks[:, None].float(), 7, stride=1, padding=3).bool()
    assert torch.equal(result[far.expand_as(image)], image[far.expand_as(image)])
    assert result.dtype == torch.uint8 and result.shape == image.shape


def test_an_image_comes_out_the_same_in_any_batch():
    random = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (5, 3, 40, 40), generator=random, dtype=torch.uint8)
    masks = torch.cat([square(40, 5 + k, 9, 8 + 3 * k) for k in range(5)])
    together = without_object(images, masks)
    alone = torch.cat([without_object(images[k : k + 1], masks[k : k + 1]) for k in range(5)])
    assert torch.equal(together, alone)


def test_a_hole_without_surroundings_takes_the_mean_and_no_hole_changes_nothing():
    image = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 20, 20).clone()
    full = torch.ones(1, 20, 20, dtype=torch.bool)
    assert torch.equal(fill_holes(image, full), image)
    noise = torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fill_holes(noise, torch.zeros(2, 20, 20, dtype=torch.bool)), noise)


def test_no_shift_is_useful_when_everything_is_hidden():
    image = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    hole = square(16, 4, 4, 4)
    _, useful = best_shifts(image, hole, torch.ones(1, 16, 16, dtype=torch.bool))
    assert not useful.item()


def test_smooth_is_exact_for_a_constant_and_zero_for_nothing():
    values = torch.full((2, 3, 32, 32), 5.0)
    known = torch.zeros(2, 32, 32, dtype=torch.bool)
    known[0, 3, 4] = True
    found = smooth(values, known)
    assert torch.allclose(found[0], torch.tensor(5.0)) and bool((found[1] == 0).all())


def test_blend_is_a_mean_by_alpha():
    first, second = torch.full((1, 3, 4, 4), 200, dtype=torch.uint8), torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    alpha = torch.tensor([0.0, 0.25, 0.504, 1.0]).expand(1, 4, 4)
    assert blend(first, second, alpha)[0, 0, 0].tolist() == [100, 125, 150, 200]
    with pytest.raises(RuntimeError):
        blend(first, second[:, :, :3], alpha)


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
