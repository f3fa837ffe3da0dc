"""What several shares of known images to accept cost: known answers and limits."""

import itertools

import torch

from backmix.metrics.acceptance import SHARES, AtShare, acceptance_table, refused_at


def test_by_hand():
    """99 held-out scores 1..99: a threshold for 0.8 is 80, one for 0.95 is 95, one for 0.99 is 99."""
    held = torch.arange(1.0, 100.0)
    known, unknown = torch.tensor([80.0, 81.0, 90.5, 200.0]), torch.tensor([79.0, 85.0, 96.0, 99.5, 100.0])
    assert acceptance_table(held, known, unknown) == [
        AtShare(0.8, 0.25, 0.8),
        AtShare(0.9, 0.5, 0.6),
        AtShare(0.95, 0.75, 0.6),
        AtShare(0.99, 0.75, 0.4),
    ]
    assert refused_at(held, unknown) == {0.8: 0.8, 0.9: 0.6, 0.95: 0.6, 0.99: 0.4}


def test_accepting_more_never_refuses_more():
    generator = torch.Generator().manual_seed(0)
    held, known, unknown = (torch.rand(size, generator=generator) for size in (150, 80, 90))
    rows = acceptance_table(held, known, unknown, [k / 50 for k in range(1, 50)])
    assert all(a.accepted <= b.accepted and a.refused >= b.refused for a, b in itertools.pairwise(rows))


def test_shares_that_the_images_do_not_allow_are_dashes():
    rows = acceptance_table(torch.arange(12.0), torch.arange(3.0), torch.arange(3.0))
    assert [row.accept for row in rows if row.accepted is None] == [0.95, 0.99]
    assert list(refused_at(torch.arange(12.0), torch.arange(3.0))) == [0.8, 0.9]


def test_kinds_that_were_not_tested_are_none():
    nothing = torch.empty(0)
    assert all(
        row.refused is None and row.accepted == 1 for row in acceptance_table(torch.ones(99), torch.zeros(2), nothing)
    )
    assert [row.accept for row in acceptance_table(torch.ones(99), nothing, nothing, {*SHARES, 0.85})] == [
        *(0.8, 0.85, 0.9, 0.95, 0.99)
    ]
