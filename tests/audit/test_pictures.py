"""The file of decoded pictures: what is in it, who is at fault, what is done twice."""

from collections import namedtuple

import pytest
import torch
from audit_pictures import Made
from PIL import Image

from backmix.audit.filling import without_object
from backmix.audit.frame import Frame
from backmix.audit.items import Group, Items, Role
from backmix.audit.masks import Fault, GivenMasks
from backmix.audit.pictures import FILE, STATES, Pictures, remove_pictures
from backmix.data.images import ImageError
from backmix.errors import DataError


class Faulty(Made):
    """The first cannot be read; of the next masks one each is missing, broken, of another size, empty, full."""

    def __init__(self):
        super().__init__(4)
        self.reads = 0

    def read(self, i):
        self.reads += 1
        if i == 0:
            raise ImageError(self.name(i), "cut off")
        return super().read(i)

    def read_mask(self, i):
        if i == 2:
            raise ImageError(self.name(i), "its mask: cut off")
        size = {3: (20, 20)}.get(i, (40, 40))
        made = {1: None, 3: Image.new("L", size, 255), 4: Image.new("L", size), 5: Image.new("L", size, 255)}
        return made[i] if i in made else super().read_mask(i)


def items_of(source, masks=True):
    given = GivenMasks("true", source.read_mask) if masks else None
    part = Role.known if masks else Role.scene
    return Items([Group(part, source, torch.arange(len(source)), source.labels, source.classes, given)])


WANTED = {
    0: Fault.unreadable,
    1: Fault.missing,
    2: Fault.broken,
    3: Fault.size,
    4: Fault.empty,
    5: Fault.full,
}


@pytest.mark.parametrize("workers", [1, 3])
def test_pictures_masks_and_faults(tmp_path, workers):
    source, frame, told = Faulty(), Frame(32), []
    with Pictures(tmp_path, frame, 12) as pictures:
        states = pictures.prepare(items_of(source), "a", workers=workers, on_images=told.append)
        assert states.faults == WANTED and states.reasons == {0: "cut off"} and told == [12]
        good = list(range(6, 12))
        images = torch.stack([frame.pixels(source.read(i)) for i in good])
        masks = torch.stack([frame.mask(source.read_mask(i)) for i in good])
        assert torch.equal(pictures.images(good), images) and torch.equal(pictures.masks(good), masks)
        assert torch.equal(pictures.backgrounds(good[::-1]), without_object(images, masks).flip(0))
        assert torch.equal(pictures.images([3])[0], frame.pixels(source.read(3)))
        assert states.readable().tolist() == [False] + [True] * 11
        assert states.usable().tolist() == [False] * 6 + [True] * 6
        assert torch.allclose(states.shares[good], masks.double().mean((1, 2)))
        assert pictures.images([]).shape == (0, 3, 32, 32) and pictures.masks([]).shape == (0, 32, 32)


def test_scenes_are_read_and_not_taken_apart(tmp_path):
    with Pictures(tmp_path, Frame(32), 12) as pictures:
        states = pictures.prepare(items_of(Faulty(), masks=False), "a")
        assert states.faults == {0: Fault.unreadable}
        assert int(states.readable().sum()) == 11 and not states.usable().any()


def test_what_is_finished_is_not_done_again_unless_something_changed(tmp_path):
    source = Faulty()

    def prepare(fingerprint):
        source.reads = 0
        with Pictures(tmp_path, Frame(32), 12) as pictures:
            return pictures.prepare(items_of(source), fingerprint), pictures.images([7])

    (first, image), (again, same) = prepare("a"), prepare("a")
    assert source.reads == 0 and torch.equal(image, same)
    assert again.faults == first.faults and torch.equal(again.shares, first.shares)
    prepare("b")
    assert source.reads == 12
    (tmp_path / STATES).write_text("{}")
    prepare("b")
    assert source.reads == 12
    with open(tmp_path / FILE, "r+b") as file:
        file.truncate(100)
    assert torch.equal(prepare("b")[1], image) and source.reads == 12
    remove_pictures(tmp_path)
    remove_pictures(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_before_anything_is_read(tmp_path, monkeypatch):
    source = Faulty()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(10, 10, 0))
    with Pictures(tmp_path, Frame(32), 12) as pictures, pytest.raises(DataError, match="room for 0.0 GiB, but 12"):
        pictures.prepare(items_of(source), "a")
    assert source.reads == 0
