"""Donors: of the right class, never the image itself, each equally often, the same for the same seed."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.audit.donors import MIXED, draw_donors, draw_from


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=40), st.integers(0, 1000))
def test_donors_are_usable_others_of_the_right_class(images, seed):
    labels = torch.tensor([label for label, _ in images])
    usable = torch.tensor([good for _, good in images])
    donors = draw_donors(labels, usable, generator(seed))
    assert list(donors) == list(MIXED)
    there = sorted(set(labels[usable].tolist()))
    for i in range(len(images)):
        own = int(labels[i])
        others = [j for j in usable.nonzero()[:, 0].tolist() if j != i]
        same = [j for j in others if int(labels[j]) == own]
        after = there[(there.index(own) + 1) % len(there)] if usable[i] else None
        allowed = {
            "mixed-same": same,
            "mixed-random": others,
            "mixed-next": [j for j in others if int(labels[j]) == after and after != own],
        }
        for name, choices in allowed.items():
            donor = int(donors[name][i])
            if usable[i] and choices:
                assert donor in choices
            else:
                assert donor == -1


def test_every_class_gives_equally_often_whatever_its_size():
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    donors = draw_donors(labels, torch.ones(1000, dtype=torch.bool), generator())["mixed-random"]
    shares = torch.bincount(labels[donors], minlength=3) / 1000
    assert (shares - 1 / 3).abs().max() < 0.05
    of_small = donors[labels[donors] == 2]
    assert len(of_small.unique()) == 10


def test_the_same_seed_draws_the_same_and_another_draws_others():
    labels, usable = torch.arange(60) % 3, torch.ones(60, dtype=torch.bool)
    first, again, other = (draw_donors(labels, usable, generator(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in MIXED)
    assert not torch.equal(first["mixed-random"], other["mixed-random"])


def test_an_image_alone_in_its_class_gets_a_random_background_of_another():
    labels = torch.tensor([0, 1, 1, 2, 2])
    for seed in range(20):
        donors = draw_donors(labels, torch.ones(5, dtype=torch.bool), generator(seed))
        assert donors["mixed-same"][0] == -1 and donors["mixed-random"][0] in (1, 2, 3, 4)


def test_donors_from_another_part():
    labels = torch.tensor([0, 1, 0, 0, 1])
    takers = torch.tensor([True, True, True, False, False])
    givers = torch.tensor([False, False, True, True, True])
    for seed in range(20):
        donors = draw_from(takers, labels, givers, generator(seed)).tolist()
        assert donors[0] in (2, 3, 4) and donors[1] in (2, 3, 4) and donors[2] in (3, 4) and donors[3:] == [-1, -1]
    assert draw_from(takers, labels, torch.zeros(5, dtype=torch.bool), generator()).tolist() == [-1] * 5


def test_the_only_giver_finds_nobody():
    one = torch.tensor([True, False])
    assert draw_from(one, torch.tensor([0, 0]), one, generator()).tolist() == [-1, -1]
    assert draw_from(~one, torch.tensor([0, 0]), one, generator()).tolist() == [-1, 0]
