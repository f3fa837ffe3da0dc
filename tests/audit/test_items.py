"""Images of several sources in one list."""

import torch
from audit_pictures import Made

from backmix.audit.items import MOST_SCENES, NO_CLASS, Group, Items, Role, scene_group


class Many(Made):
    """A source of labels alone."""

    def __init__(self, labels, classes):
        self.labels, self.classes = torch.tensor(labels), classes

    def __len__(self):
        return len(self.labels)


def test_items_keep_where_they_come_from():
    known, unknown = Made(2, seed=1), Made({"owl": 3}, seed=2)
    items = Items(
        [
            Group(Role.known, known, torch.tensor([1, 3]), known.labels[[1, 3]], known.classes, None),
            Group(Role.unknown, unknown, torch.tensor([2]), unknown.labels[[2]], unknown.classes, None),
        ]
    )
    assert len(items) == 3 and items.parts.tolist() == [0, 0, 1]
    assert [items.name(i) for i in range(3)] == ["made[1]", "made[3]", "made[2]"]
    assert [items.class_of(i) for i in range(3)] == ["cat", "dog", "owl"]
    assert items.where(2)[0].source is unknown and items.where(2)[1] == 2
    assert items.read(2).tobytes() == unknown.read(2).tobytes()
    assert items.classes(Role.unknown) == ["owl"] and items.classes(Role.scene) == []


def test_of_each_scene_some_are_kept_and_those_without_a_class_are_one():
    labels = [0] * (MOST_SCENES + 7) + [1, -1, -1]
    group = scene_group(Many(labels, ["sea", "wood", "moor"]))
    counts = torch.bincount(group.labels, minlength=4).tolist()
    assert counts == [MOST_SCENES, 1, 0, 2] and group.classes == ["sea", "wood", "moor", NO_CLASS]
    assert group.part == Role.scene and group.masks is None
    assert group.positions.tolist() == [*range(MOST_SCENES), *range(MOST_SCENES + 7, MOST_SCENES + 10)]
