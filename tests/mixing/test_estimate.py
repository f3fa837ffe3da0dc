"""Where the foreground comes from: what each kind reads, draws and finds; the cells themselves are in test_backmix."""

import copy

import pytest
import torch

from backmix.mixing import BackMix
from backmix.mixing.bank import ForegroundBank
from backmix.mixing.estimate import FOREGROUNDS, Estimate

INDEX = torch.tensor([2, 0])


def make(kind, cells=3, selection="topk", unseen="skip"):
    bank = ForegroundBank(4, grid=4)
    bank.update(torch.arange(3), torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)))
    return Estimate(bank, kind, cells, selection, unseen)


def find(estimate, index=INDEX, masks=None):
    race = estimate.draw(len(index), torch.Generator().manual_seed(1))
    return estimate.foreground(index, race, (8, 8), None, masks)


@pytest.mark.parametrize("kind", FOREGROUNDS)
def test_who_reads_the_bank_draws_or_finds_nothing(kind):
    estimate = make(kind)
    assert estimate.reads_bank == (kind in ("free", "clean"))
    assert (estimate.draw(2, None) is not None) == (kind == "random")
    assert (make(kind, selection="random").draw(2, None) is not None) == (kind in ("free", "clean", "random"))
    assert estimate.finds_nothing == (kind == "none")
    assert make(kind, cells=0).finds_nothing == (kind != "masks")


@pytest.mark.parametrize("kind", ["free", "clean", "centre", "random"])
@pytest.mark.parametrize("selection", ["topk", "random"])
def test_as_many_cells_as_asked_are_foreground(kind, selection):
    found = find(make(kind, selection=selection))
    assert found.cells.flatten(1).sum(1).tolist() == [3, 3] and found.everywhere().shape == (2, 8, 8)


def test_masks_are_the_foreground_themselves_and_nothing_without_them():
    masks = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(2)) > 0.5
    assert torch.equal(find(make("masks"), masks=masks).everywhere(), masks)
    assert find(make("masks")) is None and find(make("none")) is None and find(make("centre", cells=0)) is None


def test_an_image_without_a_map_has_no_foreground_where_it_is_left_unmasked():
    found = find(make("free", unseen="unmasked"), torch.tensor([3, 1]))
    assert found.cells.flatten(1).sum(1).tolist() == [0, 3]


def test_the_copy_of_a_backmix_reads_the_bank_of_the_copy():
    mix = copy.deepcopy(BackMix(4))
    assert mix.estimate.bank is mix.bank
