"""Divide images by class without dividing groups of look-alikes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backmix.data.group_split import split_groups
from backmix.errors import DataError

single_class = st.lists(st.tuples(st.integers(-1, 3), st.integers(1, 6)), max_size=40)
shares_of_parts = st.lists(st.floats(0.02, 0.3), max_size=3)


def unfold(sizes):
    """Labels and groups from (label, size of group)."""
    labels = [label for label, size in sizes for _ in range(size)]
    groups = [7 * number for number, (_, size) in enumerate(sizes) for _ in range(size)]
    order = np.random.default_rng(len(labels)).permutation(len(labels))
    return (torch.tensor(values, dtype=torch.int64)[order] for values in (labels, groups))


def check_division(parts, groups):
    assert sorted(torch.cat(parts).tolist()) == list(range(len(groups)))
    assert all(part.tolist() == sorted(part.tolist()) and part.dtype == torch.int64 for part in parts)
    sides = [set(groups[part].tolist()) for part in parts]
    assert sum(map(len, sides)) == len(set().union(*sides))


@settings(deadline=None, max_examples=50)
@given(single_class, shares_of_parts, st.integers(0, 100))
def test_split_of_groups_of_one_class(sizes, shares, seed):
    labels, groups = unfold(sizes)
    parts = split_groups(labels, groups, shares, torch.Generator().manual_seed(seed))
    assert len(parts) == len(shares) + 1
    check_division(parts, groups)
    for label in labels.unique().tolist():
        of_class = [size for other, size in sizes if other == label]
        targets = [share * sum(of_class) for share in (1 - sum(shares), *shares)]
        counts = [int((labels[part] == label).sum()) for part in parts]
        present = [count > 0 for count in counts]
        needed = min(len(of_class), len(parts))
        assert all(present[:needed])
        over = [count - target for count, target in zip(counts, targets)]
        assert max(over) <= max(of_class) + 1e-6
        # One group each is at most what a part wants: nothing stands in the way of the shares.
        if min(targets) >= max(of_class):
            assert min(over) >= -max(of_class) - 1e-6


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 15)), max_size=60), shares_of_parts, st.integers(0, 100))
def test_split_of_groups_of_several_classes(images, shares, seed):
    labels, groups = (torch.tensor([image[k] for image in images], dtype=torch.int64) for k in (0, 1))
    parts = split_groups(labels, groups, shares, torch.Generator().manual_seed(seed))
    check_division(parts, groups)
    assert set(labels[parts[0]].tolist()) == set(labels.tolist())


def test_without_duplicates_every_share_is_met():
    labels = torch.arange(200) % 4
    parts = split_groups(labels, torch.arange(200), [0.1, 0.3], torch.Generator().manual_seed(0))
    assert [torch.bincount(labels[part]).tolist() for part in parts] == [[30] * 4, [5] * 4, [15] * 4]


def test_large_groups_do_not_crowd_out_the_training_images():
    labels = torch.tensor([0] * 10 + [1] * 12)
    groups = torch.tensor([0] * 9 + [1] + [2] * 9 + [3, 4, 5])
    parts = split_groups(labels, groups, [0.2, 0.2], torch.Generator().manual_seed(0))
    assert [torch.bincount(labels[part], minlength=2).tolist() for part in parts] == [[9, 9], [1, 2], [0, 1]]


def test_few_groups_go_to_the_rest_first():
    labels = torch.tensor([0, 1, 1, 2, 2, 2])
    parts = split_groups(labels, torch.arange(6), [0.01, 0.01], torch.Generator().manual_seed(3))
    assert [sorted(labels[part].tolist()) for part in parts] == [[0, 1, 2], [1, 2], [2]]


def test_split_depends_on_the_generator_alone():
    labels, groups = torch.arange(100) % 3, torch.arange(100) // 2
    splits = [
        split_groups(labels, groups, [0.2], torch.Generator().manual_seed(seed))[1].tolist() for seed in (0, 0, 1)
    ]
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize(
    ("labels", "groups", "shares", "message"),
    [
        (torch.zeros(2, 2).long(), torch.arange(4), [0.5], r"labels must be \(N,\) whole numbers; got \(2, 2\)"),
        (torch.arange(4), torch.rand(4), [0.5], r"groups must be \(N,\) whole numbers; got \(4,\) of torch.float32"),
        (torch.arange(4), torch.ones(4, dtype=torch.bool), [0.5], "of torch.bool"),
        (torch.arange(4), torch.arange(5), [0.5], "got 4 labels and 5 groups"),
        (torch.arange(4), torch.arange(4), [0.5, 0.0], "above 0 and together below 1; got 0.5, 0.0"),
        (torch.arange(4), torch.arange(4), [-0.1], "above 0"),
        (torch.arange(4), torch.arange(4), [0.5, 0.5], "together below 1"),
        (torch.arange(4), torch.arange(4), [float("nan")], "got nan"),
    ],
)
def test_bad_splits(labels, groups, shares, message):
    with pytest.raises(DataError, match=message):
        split_groups(labels, groups, shares, torch.Generator())
