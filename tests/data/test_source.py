import subprocess
import sys

import pytest
import torch
from PIL import Image

from backmix.data.folder import FolderSource
from backmix.data.images import ImageError
from backmix.data.source import ImageSource, Subset, check_position, count_per_class, find_unreadable, read_photo
from backmix.errors import DataError


class Colours:
    """Images of one grey each; some cannot be read."""

    def __init__(self, n=10, broken=()):
        self.classes = ["a", "b", "empty"]
        self.labels = torch.arange(n) % 3 - 1
        self.broken = broken

    def __len__(self):
        return len(self.labels)

    def read(self, i):
        if check_position(i, len(self)) in self.broken:
            raise ImageError(self.name(i), "broken")
        return Image.new("RGB", (2, 2), (i % 256,) * 3)

    def read_mask(self, i):
        return None if i % 2 else Image.new("L", (2, 2), i)

    def name(self, i):
        return f"colour {i}"


@pytest.mark.parametrize("label", [3, -2, 10**12, -(10**12)])
def test_a_label_that_is_no_class_is_named_before_anything_has_its_size(label):
    source = Colours()
    source.labels[4] = label
    with pytest.raises(DataError, match=rf"colour 4 \(image 4\) has label {label}, but there are 3 classes, .*\(1 im"):
        count_per_class(source)


def test_subset_is_a_source_that_renumbers():
    subset = Subset(Colours(), [7, 2, 2])
    assert isinstance(subset, ImageSource)
    assert len(subset) == 3 and subset.classes == Colours().classes
    assert subset.labels.tolist() == Colours().labels[[7, 2, 2]].tolist()
    assert [subset.read(i).getpixel((0, 0))[0] for i in range(3)] == [7, 2, 2]
    assert subset.read_mask(0) is None and subset.read_mask(1).getpixel((0, 0)) == 2
    assert subset.name(0) == "colour 7"
    assert Subset(subset, torch.tensor([1])).name(0) == "colour 2"
    assert len(Subset(Colours(), [])) == 0


def test_positions_that_are_not_there():
    for indices in ([0, 10], [-1]):
        with pytest.raises(DataError, match="the source has 10 images"):
            Subset(Colours(), indices)
    for indices in ([True] * 10, [1.0], [[1, 2]]):
        with pytest.raises(DataError, match=r"indices must be \(M,\) whole numbers"):
            Subset(Colours(), indices)
    subset = Subset(Colours(), [7, 2])
    for i in (2, -1):
        with pytest.raises(IndexError, match="the source has 2"):
            subset.read(i)


def test_count_per_class_leaves_out_what_has_no_class():
    assert count_per_class(Colours(10)) == {"a": 3, "b": 3, "empty": 0}
    assert count_per_class(Subset(Colours(), [])) == {"a": 0, "b": 0, "empty": 0}


@pytest.mark.parametrize("workers", [1, 3])
def test_find_unreadable_lists_every_image_that_cannot_be_read(workers):
    broken = {0, 127, 128, 299}
    done = []
    errors = find_unreadable(Colours(300, broken), workers=workers, progress=done.append)
    assert list(errors) == sorted(broken)
    assert [(error.path, error.reason) for error in errors.values()][1] == ("colour 127", "broken")
    assert done == [128, 256, 300]
    assert find_unreadable(Colours(5)) == {} == find_unreadable(Subset(Colours(), []))


def test_find_unreadable_hides_no_other_error():
    class Faulty(Colours):
        def read(self, i):
            raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError, match="a mistake of ours"):
        find_unreadable(Faulty())
    with pytest.raises(ValueError, match="workers must be at least 1"):
        find_unreadable(Colours(), workers=0)


def test_importing_the_data_layer_is_light():
    code = (
        "import sys, backmix.data; "
        "heavy = {'datasets', 'pyarrow', 'sklearn', 'pandas', 'matplotlib', 'torchvision'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_subclass_that_changes_read_alone_is_asked_for_whole_pictures(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (320, 240), (10, 20, 30)).save(tmp_path / name / "x.jpg")

    class Green(FolderSource):
        def read(self, i):
            return Image.new("RGB", super().read(i).size, (0, 255, 0))

    assert read_photo(FolderSource(tmp_path), 0, 32).scale == 4
    for source in (Green(tmp_path), Subset(Green(tmp_path), [0])):
        photo = read_photo(source, 0, 32)
        assert photo.scale == 1 and photo.square(8).getpixel((0, 0)) == (0, 255, 0)
    plain = FolderSource(tmp_path)
    plain.read = lambda i: Image.new("RGB", (9, 9), (0, 0, 255))
    assert read_photo(plain, 0, 32).size == (9, 9)
