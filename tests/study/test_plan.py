"""Which cells are trained."""

import pytest

from backmix.study.plan import PARTS, cells_of, middle_prior, parts_of, strong_prior, trainings_of
from backmix.study.trainings import PLAIN, TRAININGS

PRIORS = (1 / 6, 0.5, 0.8, 0.95)


def test_priors_of_the_parts():
    assert middle_prior(PRIORS) == 0.8 and strong_prior(PRIORS) == 0.95
    assert middle_prior([0.5, 0.75, 1.0]) == 0.75
    assert middle_prior(()) is None and strong_prior(()) is None


def test_rising_priors_need_priors():
    assert parts_of(PRIORS, list(PARTS)) == list(PARTS)
    assert parts_of((), list(PARTS)) == ["b", "c", "d"] and parts_of((0.5,), ["a"]) == []


def test_every_cell_once_and_seed_by_seed():
    cells = cells_of(PRIORS, list(PARTS), [0, 1])
    keys = [tuple(cell.key().values()) for cell in cells]
    assert len(keys) == len(set(keys)) and [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    for part in PARTS:
        for training in trainings_of(part):
            prior = 0.8 if part == "b" else 0.95
            assert (training, prior, 0) in keys and (training, prior, 1) in keys
    assert {(PLAIN, prior, 0) for prior in PRIORS} <= set(keys)


def test_estimated_masks_where_the_audits_are_compared():
    cells = cells_of(PRIORS, list(PARTS), [0])
    assert {cell.training for cell in cells if cell.estimated} == set(trainings_of("d"))
    assert all(cell.prior == 0.95 for cell in cells if cell.estimated)


@pytest.mark.parametrize("part", PARTS)
def test_trainings_have_names_and_plain_comes_first(part):
    assert trainings_of(part)[0] == PLAIN and set(trainings_of(part)) <= set(TRAININGS)


def test_photographs_as_they_are():
    cells = cells_of((), ["c", "d"], [5])
    assert {cell.prior for cell in cells} == {None} and all(cell.estimated for cell in cells)
