import pickle

import pytest
import torch
from PIL import Image

from backmix.benchmark.relabel import Joined, Relabelled
from backmix.data.content import content_key
from backmix.data.source import ImageSource
from backmix.errors import DataError


class Greys:
    """N images, image i of grey level first + i, classes a and b in turn, a mask on every second."""

    def __init__(self, number, first=0, classes=("a", "b")):
        self.number, self.first, self.classes = number, first, list(classes)
        self.labels = torch.arange(number) % 2

    def __len__(self):
        return self.number

    def read(self, i):
        return Image.new("RGB", (2, 2), (self.first + i,) * 3)

    def read_mask(self, i):
        return Image.new("L", (2, 2), self.first + i) if i % 2 else None

    def name(self, i):
        return f"grey {self.first + i}"


def test_labels_and_classes_are_replaced_and_images_stay():
    source = Relabelled(Greys(6), [5, 0, 3], torch.tensor([2, -1, 0]), ("x", "y", "z"))
    assert isinstance(source, ImageSource)
    assert source.classes == ["x", "y", "z"] and source.labels.tolist() == [2, -1, 0] and len(source) == 3
    assert [source.read(i).getpixel((0, 0))[0] for i in range(3)] == [5, 0, 3]
    assert source.name(0) == "grey 5" and source.read_mask(1) is None and source.read_mask(2).getpixel((0, 0)) == 3
    assert len(Relabelled(Greys(6), [], torch.tensor([]), ("x",))) == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 1], r"labels must be \(3,\)"), ([0, 1, 2], "from 0 to 2, but there are 2"), ([0, -2, 0], "from -2 to 0")],
)
def test_labels_that_do_not_fit(labels, message):
    with pytest.raises(DataError, match=message):
        Relabelled(Greys(6), [0, 1, 2], torch.tensor(labels), ("x", "y"))


def test_joined_sources_stand_one_after_the_other():
    parts = [Greys(3), Greys(0), Greys(2, first=10), Greys(1, first=20)]
    joined = Joined(parts)
    assert isinstance(joined, ImageSource)
    slow = [(part, i) for part in parts for i in range(len(part))]
    assert len(joined) == len(slow) == 6 and joined.classes == ["a", "b"]
    for i, (part, position) in enumerate(slow):
        assert joined.labels[i] == part.labels[position]
        assert joined.name(i) == part.name(position)
        assert joined.read(i).tobytes() == part.read(position).tobytes()
        assert (joined.read_mask(i) is None) == (part.read_mask(position) is None)
    for call in (joined.read, joined.read_mask, joined.name):
        for i in (-1, 6):
            with pytest.raises(IndexError, match=f"no image {i}"):
                call(i)
    assert pickle.loads(pickle.dumps(joined)).name(4) == "grey 11"


def test_what_cannot_be_joined():
    with pytest.raises(DataError, match="nothing to join"):
        Joined([])
    with pytest.raises(DataError, match="same classes in the same order"):
        Joined([Greys(2), Greys(2, classes=("b", "a"))])


def test_joined_images_are_known_by_the_content_that_their_sources_name():
    class Named(Greys):
        def content_key(self, i):
            return bytes([self.first + i]) * 32

    joined = Joined([Named(2), Relabelled(Named(3, 10), [2, 0], torch.tensor([0, 1]), ("a", "b"))])
    assert [content_key(joined, i)[0] for i in range(4)] == [0, 1, 12, 10]
    assert content_key(Joined([Greys(2)]), 1) == content_key(Greys(2), 1)
