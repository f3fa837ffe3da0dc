"""Which images train, calibrate and test: by class, by seed, groups undivided; rare images more than once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.data.split import auto_holdout, divide, repeat_rare, split_apart, split_known
from backmix.errors import DataError


def test_the_split_is_by_class_and_by_seed():
    labels = torch.tensor([0] * 40 + [-1] * 10 + [1] * 20)
    one, same, other = (split_known(labels, ["a", "b"], True, 0.25, seed) for seed in (0, 0, 1))
    assert torch.equal(one.held, same.held) and not torch.equal(one.held, other.held)
    assert torch.bincount(labels[one.held]).tolist() == [10, 5] and torch.bincount(labels[one.train]).tolist() == [
        30,
        15,
    ]
    assert sorted(torch.cat([one.train, one.held]).tolist()) == (labels >= 0).nonzero().flatten().tolist()


def test_shares_stay_in_their_limits():
    assert all(0.05 <= auto_holdout(images) <= 0.2 for images in (0, 1, 10, 200, 500, 3000, 27_000, 10**7))
    assert auto_holdout(2000) == pytest.approx(0.1)


def test_three_parts_that_keep_groups_whole():
    labels = torch.tensor([0] * 40 + [-1] * 10 + [1] * 20)
    groups = torch.arange(70) // 4
    split = split_apart(labels, ["a", "b"], True, 0.2, 0.2, groups, seed=3)
    parts = split.train, split.held, split.test
    assert sorted(torch.cat(parts).tolist()) == (labels >= 0).nonzero().flatten().tolist()
    for one in range(3):
        for other in range(one):
            assert not set(groups[parts[one]].tolist()) & set(groups[parts[other]].tolist())
    for part in parts[1:]:
        assert all(
            abs(n - wanted) <= 2 for n, wanted in zip(torch.bincount(labels[part]).tolist(), [8, 4], strict=True)
        )
    again = split_apart(labels, ["a", "b"], True, 0.2, 0.2, groups, seed=3)
    assert torch.equal(again.test, split.test)
    assert not torch.equal(split_apart(labels, ["a", "b"], True, 0.2, 0.2, groups, seed=4).test, split.test)


def test_parts_that_are_not_wanted_are_empty():
    labels = torch.tensor([0, 1] * 10)
    without_test = split_apart(labels, ["a", "b"], True, 0.2, 0.0, None, seed=0)
    assert len(without_test.test) == 0 and len(without_test.held) == 4
    own_held_out = split_apart(labels, ["a", "b"], False, None, 0.3, None, seed=0)
    assert len(own_held_out.held) == 0 and len(own_held_out.test) == 6


def test_a_class_of_two_images_does_not_take_the_test_away_from_the_others():
    split = split_apart(torch.tensor([0] * 10 + [1, 1]), ["a", "b"], True, 0.2, 0.2, None, seed=0)
    assert set(split.test.tolist()) < set(range(10)) and len(split.test) == 2
    assert {10, 11} & set(split.train.tolist()) and {10, 11} & set(split.held.tolist())
    with pytest.raises(DataError, match=r"no class has 3 images, so none can be tested.*--test-share 0"):
        split_apart(torch.tensor([0, 0, 1, 1]), ["a", "b"], True, 0.2, 0.2, None, seed=0)


@pytest.mark.parametrize("test_share", [0.0, 0.2])
def test_many_small_classes_are_one_short_line_and_an_option(test_share):
    names = [f"class {number}" for number in range(400)]
    with pytest.raises(DataError, match=r"at least two images.* \(1\) and 390 more\. .*--min-images 2") as caught:
        divide(torch.arange(400), names, True, 0.2, test_share, None, 0)
    assert len(str(caught.value)) < 400


def test_classes_of_copies_leave_nothing_to_calibrate_on():
    with pytest.raises(DataError, match="near-duplicates of one another.*--no-near-duplicates"):
        split_apart(torch.tensor([0] * 9 + [1] * 9), ["a", "b"], True, 0.2, 0.2, torch.arange(18) // 9, seed=0)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=5))
def test_rare_images_stand_there_more_often(counts):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    shown = repeat_rare(labels, torch.arange(len(labels)))
    times = torch.bincount(shown, minlength=len(labels))
    assert int(times.min()) >= 1
    for label, count in enumerate(counts):
        of_class = times[labels == label]
        assert bool((of_class == of_class[0]).all())
        assert abs(int(of_class[0]) - (max(counts) / count) ** 0.5) <= 0.5 + 1e-6
