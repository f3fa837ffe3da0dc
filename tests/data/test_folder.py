import os
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from backmix.data.folder import FolderSource, natural_key
from backmix.data.images import ImageError
from backmix.data.source import ImageSource, count_per_class, find_unreadable
from backmix.errors import DataError


def fill(root, *paths):
    """Make an image at every path, its grey telling the number; a path that ends in / is made a folder."""
    for number, path in enumerate(paths):
        if path.endswith("/"):
            (root / path).mkdir(parents=True)
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2), (number,) * 3).save(root / path)
    return root


def relative(source):
    return [source.path(i).relative_to(source.root).as_posix() for i in range(len(source))]


def test_classes_and_images_stand_in_natural_order(tmp_path):
    fill(tmp_path, "dog 10/b.png", "dog 2/img10.png", "dog 2/img2.PNG", "Cat/x.jpg", "dog 2/deep/er/a.bmp")
    source = FolderSource(tmp_path)
    assert isinstance(source, ImageSource)
    assert source.classes == ["Cat", "dog 2", "dog 10"]
    assert relative(source) == ["Cat/x.jpg", "dog 2/img2.PNG", "dog 2/img10.png", "dog 2/deep/er/a.bmp", "dog 10/b.png"]
    assert source.labels.tolist() == [0, 1, 1, 1, 2]
    assert len(source) == 5 and source.read(1).getpixel((0, 0)) == (2, 2, 2)
    assert source.read_mask(0) is None and source.name(4) == str(tmp_path / "dog 10" / "b.png")
    assert source.notes() == []
    with pytest.raises(IndexError):
        source.read(-1)


def test_what_is_no_image_is_listed_or_passed_over(tmp_path):
    fill(
        tmp_path,
        "a/1.png",
        "b/1.png",
        "a/.hidden/2.png",
        "a/.2.png",
        "__MACOSX/a/1.png",
        "a/__MACOSX/1.png",
        ".git/1.png",
    )
    (tmp_path / "a" / "notes.txt").write_text("text")
    (tmp_path / "b" / "photo.cr2").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("text")
    (tmp_path / "c" / "d").mkdir(parents=True)
    source = FolderSource(str(tmp_path))
    assert relative(source) == ["a/1.png", "b/1.png"] and source.classes == ["a", "b"]
    assert source.skipped == ["labels.csv", "a/notes.txt", "b/photo.cr2"]
    assert source.empty_classes == ["c"]
    assert source.notes() == [
        "no images in 'c': left out of the classes",
        "1 file of a kind that cannot be read: .cr2 (1)",
        "2 files are not images by the extension: .csv (1), .txt (1)",
    ]


def test_given_classes_come_first_and_new_ones_follow(tmp_path):
    fill(tmp_path, "zebra/1.png", "cat/1.png", "dog/1.png")
    source = FolderSource(tmp_path, classes=["dog", "owl", "cat"])
    assert source.classes == ["dog", "owl", "cat", "zebra"]
    assert count_per_class(source) == {"dog": 1, "owl": 0, "cat": 1, "zebra": 1}
    assert [source.classes[label] for label in source.labels] == [path.split("/")[0] for path in relative(source)]


def test_unreadable_images_are_found_and_the_others_stay(tmp_path):
    fill(tmp_path, "a/1.png", "a/3.png", "b/1.png")
    (tmp_path / "a" / "2.jpg").write_bytes(b"no image")
    (tmp_path / "b" / "2.png").touch()
    (tmp_path / "b" / "3.png").symlink_to(tmp_path / "gone.png")
    source = FolderSource(tmp_path)
    errors = find_unreadable(source)
    assert [os.path.relpath(error.path, tmp_path) for error in errors.values()] == ["a/2.jpg", "b/2.png", "b/3.png"]
    assert [error.reason[:12] for error in errors.values()] == ["not an image", "empty (0 byt", "no such file"]
    with pytest.raises(ImageError, match=r"a/2\.jpg: not an image"):
        source.read(1)


def test_links_are_followed_once_and_circles_are_left(tmp_path):
    fill(tmp_path / "data", "a/1.png", "b/1.png", "a/in/2.png")
    fill(tmp_path / "elsewhere", "3.png")
    data = tmp_path / "data"
    (data / "a" / "up").symlink_to(data)
    (data / "a" / "self").symlink_to(data / "a")
    (data / "a" / "in" / "again").symlink_to(data / "a" / "in")
    (data / "b" / "linked").symlink_to(tmp_path / "elsewhere")
    (data / "b" / "twice").symlink_to(tmp_path / "elsewhere")
    (data / "b" / "round").symlink_to(data / "b" / "round")
    assert relative(FolderSource(data)) == ["a/1.png", "a/in/2.png", "b/1.png", "b/linked/3.png"]


def test_a_class_may_be_a_link(tmp_path):
    fill(tmp_path, "real/1.png", "data/a/1.png")
    (tmp_path / "data" / "b").symlink_to(tmp_path / "real")
    assert FolderSource(tmp_path / "data").classes == ["a", "b"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ((), "is empty; one folder of images per class is expected"),
        (("1.png", "2.png"), "has no class folders, but 2 images directly in it"),
        ((".hidden/1.png",), "is empty"),
        (("cat/1.png",), r"images of one class only \('cat'\); at least 2 classes"),
        (("cat/1.png", "dog/"), "one class only .*; no images in 'dog'"),
        (("cat/", "dog/"), "class folders but no images in them"),
    ],
)
def test_folders_that_cannot_be_learnt_from(tmp_path, paths, message):
    with pytest.raises(DataError, match=message):
        FolderSource(fill(tmp_path, *paths))


def test_no_folder_or_a_file_or_only_other_files(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        FolderSource(tmp_path / "nothing")
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        FolderSource(tmp_path / "file.txt")
    with pytest.raises(DataError, match="1 files but no images"):
        FolderSource(tmp_path)


def test_one_class_is_enough_where_that_is_asked_for(tmp_path):
    assert FolderSource(fill(tmp_path, "cat/1.png"), min_classes=1).classes == ["cat"]


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems keep such names from existing")
@pytest.mark.parametrize("names", [("Cat", "cat"), ("STRASSE", "straße"), ("\ufb01sh", "fish")])
def test_names_that_differ_only_in_case_or_spelling(tmp_path, names):
    fill(tmp_path, *(f"{name}/1.png" for name in names))
    with pytest.raises(DataError, match="differ only in case"):
        FolderSource(tmp_path)
    one = FolderSource(fill(tmp_path / "one", f"{names[0]}/1.png"), classes=["ant", names[1]], min_classes=1)
    assert one.classes == ["ant", names[1]] and one.labels.tolist() == [1]
    assert one.notes() == [f"spelt otherwise than the known classes, and taken for them: {names[0]!r} as {names[1]!r}"]


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems keep such names from existing")
def test_names_in_two_unicode_forms_are_one_class(tmp_path):
    composed, parted = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    fill(tmp_path, f"{parted}/1.png", "tea/1.png")
    source = FolderSource(tmp_path)
    assert source.classes == [composed, "tea"] and source.read(0).size == (2, 2)
    fill(tmp_path, f"{composed}/2.png")
    source = FolderSource(tmp_path)
    assert source.classes == [composed, "tea"] and source.labels.tolist() == [0, 0, 1]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    fill(tmp_path, "a/1.png", "b/1.png")
    scandir = os.scandir

    def refuse(folder):  # file modes do not stop an administrator
        if os.fspath(folder).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="b cannot be listed: Permission denied"):
        FolderSource(tmp_path)


@given(st.lists(st.tuples(st.sampled_from(["img", "Img", "x"]), st.integers(0, 10**6)), unique=True))
def test_natural_order_is_that_of_the_numbers(pairs):
    names = sorted((f"{word}{number}.png" for word, number in pairs), key=natural_key)
    expected = sorted(pairs, key=lambda pair: (pair[0].lower(), pair[1], pair[0]))
    assert names == [f"{word}{number}.png" for word, number in expected]


@given(st.lists(st.text(max_size=12), unique=True))
def test_natural_order_is_total(names):
    assert sorted(names, key=natural_key) == sorted(reversed(names), key=natural_key)


def test_numbers_of_any_length_are_sorted():
    names = ["9" * 5000, "10", "a" + "1" * 5000, "9", "8" * 5000]
    assert sorted(names, key=natural_key) == ["9", "10", "8" * 5000, "9" * 5000, "a" + "1" * 5000]


def test_loose_images_are_a_class_of_the_folders_name_where_that_is_asked_for(tmp_path):
    root = fill(tmp_path / "strangers", "1.png", "2.png")
    with pytest.raises(DataError, match="no class folders, but 2 images"):
        FolderSource(root, min_classes=1)
    source = FolderSource(root, min_classes=1, loose=True)
    assert source.classes == ["strangers"] and relative(source) == ["1.png", "2.png"]
    assert source.notes() == ["no class folders: these images are taken for a class called 'strangers'"]
    fill(root, "owl/3.png")
    both = FolderSource(root, min_classes=1, loose=True)
    assert count_per_class(both) == {"owl": 1, "strangers": 2}
    assert both.notes() == ["2 images in no class folder: these images are taken for a class called 'strangers'"]
    strict = FolderSource(root, min_classes=1)
    assert count_per_class(strict) == {"owl": 1}
    assert strict.notes() == ["2 images lie in no class folder and are left out"]
