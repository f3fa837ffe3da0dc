"""Objects on scenes: the object is the object, the scene goes with the class at the rate asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from objects_and_scenes import COLOURS, SCENES, Objects, Scenes

from backmix.data.objects_on_scenes import SIZES, ObjectsOnScenes
from backmix.errors import DataError


def made(prior=0.8, known=("red", "blue"), **options):
    return ObjectsOnScenes(Objects(), Scenes(), list(known), prior=prior, image_size=32, **options)


def test_objects_stand_on_their_scene_and_masks_tell_where():
    source = made()
    for i in range(0, len(source), 7):
        picture, mask = np.asarray(source.read(i)).astype(int), np.asarray(source.read_mask(i))
        assert picture.shape == (32, 32, 3) and mask.shape == (32, 32) and set(np.unique(mask)) == {0, 255}
        inside = np.abs(picture - COLOURS[source.classes[int(source.labels[i])]]).sum(2) < 130
        outside = np.abs(picture - list(SCENES.values())[int(source.scenes[i])]).sum(2) < 6
        # The pixel's width of an edge is neither wholly the one nor the other.
        assert (inside == (mask > 0)).mean() > 0.9 and (outside == (mask == 0)).mean() > 0.85
        rows, columns = np.nonzero(mask)
        longer = max(np.ptp(rows), np.ptp(columns)) + 1
        assert SIZES[0] * 32 - 2 <= longer <= SIZES[1] * 32 + 2


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 1))
def test_scenes_go_with_the_class_at_the_prior(prior):
    source = made(prior, copies=20)
    for number in (0, 1):
        share = float((source.scenes[source.labels == number] == number).double().mean())
        assert abs(share - prior) < 0.12
    unknown = float((source.scenes[source.labels == 2] == 0).double().mean())
    assert abs(unknown - 0.5) < 0.12


def test_ends_of_the_prior():
    always, never = made(1.0), made(0.0)
    known = always.labels < 2
    assert torch.equal(always.scenes[known], always.labels[known])
    assert not (never.scenes[known] == never.labels[known]).any()


def test_more_classes_than_scenes_share_them():
    source = made(1.0, known=("red", "blue", "white"))
    assert source.scenes[source.labels == 2].unique().tolist() == [0]


def test_one_scene_class_is_enough():
    scenes = Scenes()
    scenes.labels = torch.where(scenes.labels == 1, -1, scenes.labels)
    source = ObjectsOnScenes(Objects(), scenes, ["red"], prior=0.3, image_size=32)
    assert source.scenes.unique().tolist() == [0]


def test_another_prior_leaves_an_image_as_it_is_but_for_its_scene():
    low, high = made(0.2), made(0.9)
    same = (low.scenes == high.scenes).nonzero()[:, 0].tolist()
    assert 0 < len(same) < len(low)
    for i in same[:10]:
        assert np.array_equal(low.read(i), high.read(i))
    for i in range(0, len(low), 5):
        assert np.array_equal(low.read_mask(i), high.read_mask(i))


def test_seeds_and_copies_differ_and_the_same_seed_does_not():
    first, again, other = made(seed=1, copies=2), made(seed=1, copies=2), made(seed=2, copies=2)
    assert all(np.array_equal(first.read(i), again.read(i)) for i in range(len(first)))
    assert any(not np.array_equal(first.read(i), other.read(i)) for i in range(5))
    assert len(first) == 120 and not np.array_equal(first.read(0), first.read(60))
    assert torch.equal(first.labels[:60], first.labels[60:])


def test_objects_without_a_usable_mask_are_left_out():
    faults = {0: "none", 1: "size", 2: "empty", 3: "unlabelled", 25: "unreadable"}
    source = ObjectsOnScenes(Objects(faults=faults), Scenes(), ["red", "blue"], prior=0.5, image_size=32)
    assert len(source) == 55 and torch.bincount(source.labels).tolist() == [16, 19, 20]
    assert source.name(0).startswith("object 4 on ")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"prior": 1.5}, "prior is a rate and must be in 0..1; got 1.5"),
        ({"known": ("green",)}, "the objects have no class 'green'; they have red, blue, white"),
        ({"copies": 0}, "copies at least 1"),
        ({"seed": -1}, "seed at least 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(DataError, match=message):
        made(**options)


def test_nothing_to_cut_out_or_to_stand_on():
    with pytest.raises(DataError, match="none of the objects has a mask"):
        ObjectsOnScenes(Objects(1, {0: "none", 1: "empty", 2: "size"}), Scenes(), ["red"], prior=0.5)
    scenes = Scenes()
    scenes.labels = torch.full_like(scenes.labels, -1)
    with pytest.raises(DataError, match="no images with a class"):
        ObjectsOnScenes(Objects(), scenes, ["red"], prior=0.5)
    with pytest.raises(IndexError):
        made().read(60)
