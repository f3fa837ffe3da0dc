"""Processes that share a batch: each keeps its part of what was drawn for all of it."""

import pytest
import torch

from backmix.augmentations import AUGMENTATIONS, Chain, CutMix, make_augmentation
from backmix.augmentations.share import ALL
from backmix.augmentations.share import ProcessPart as Share
from backmix.data.preprocess import Preprocess
from backmix.mixing import BackMix

ALONE = ("cutout", "gridmask", "hide-and-seek", "randaugment")


def test_every_augmentation_that_changes_images_alone_is_tried():
    alone = {name for name, made in AUGMENTATIONS.items() if not made.looks_at_others}
    assert set(ALONE) == alone - {"mixstyle"}  # That one leaves images as they are and changes feature maps.


def test_parts_make_up_the_whole():
    whole = torch.arange(12).view(6, 2)
    assert ALL.own(whole) is whole and ALL.whole(6) == 6
    parts = [Share(rank, 3).own(whole) for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole) and all(Share(0, 3).whole(len(part)) == 6 for part in parts)
    across = [Share(rank, 2).own(whole, -1) for rank in range(2)]
    assert torch.equal(torch.cat(across, 1), whole)


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_what_does_not_divide_is_shared_as_evenly_as_can_be(count):
    sizes = [len(Share(rank, 3).own(torch.arange(count))) for rank in range(3)]
    assert sum(sizes) == count and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("world", [2, 3])
def test_an_image_changes_alike_however_many_processes_there_are(name, world):
    images = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def change(part, share):
        augmentation = AUGMENTATIONS[name](generator=torch.Generator().manual_seed(1))
        augmentation.share = share
        first = augmentation(part)
        return first, augmentation(first), augmentation.moved()

    whole = change(images, ALL)
    parts = [change(Share(rank, world).own(images), Share(rank, world)) for rank in range(world)]
    for number in (0, 1):
        assert torch.equal(torch.cat([part[number] for part in parts]), whole[number])
    assert not torch.equal(whole[0], images)
    if whole[2] is None:
        assert all(part[2] is None for part in parts)
    else:
        assert torch.equal(torch.cat([part[2] for part in parts]), whole[2])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_who_looks_at_other_images_says_so(name):
    """With the same draws, other neighbours change an image where an augmentation looks at others, and only there."""
    images = torch.randn(8, 3, 32, 32)
    other = images.clone()
    other[4:] = torch.randn(4, 3, 32, 32)

    def change(batch):
        options = {"probability": 1.0} if name == "cutmix" else {}
        augmentation = AUGMENTATIONS[name](generator=torch.Generator().manual_seed(1), **options)
        return augmentation(batch)[:4]

    assert torch.equal(change(images), change(other)) != AUGMENTATIONS[name].looks_at_others


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("backmix", True),
        ("swap", True),
        ("mixup", True),
        ("randaugment", False),
        ("randaugment+cutout", False),
        ("mixstyle+gridmask", False),
        ("randaugment+backmix", True),
    ],
)
def test_a_chain_looks_at_others_where_a_part_of_it_does(name, expected):
    assert make_augmentation(name, 10, Preprocess(32)).looks_at_others == expected


def test_a_chain_hands_the_share_to_its_parts():
    mix, before, behind = BackMix(4), CutMix(), AUGMENTATIONS["cutout"]()
    Chain([behind, before, mix]).set_share(before_crop=ALL, behind_crop=Share(1, 2))
    assert before.share == ALL and behind.share == Share(1, 2)
