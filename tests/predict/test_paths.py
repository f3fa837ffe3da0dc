"""Which images are found, and in which order."""

import codecs
import io
import os
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backmix.errors import DataError
from backmix.predict.paths import Found, find_images, read_list


@pytest.fixture
def tree(tmp_path, monkeypatch):
    names = ("b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.webp", "sub/.d/e.png", "sub/deep/f.gif", "g/h.png")
    for name in (*names, "__MACOSX/i.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(*given, **options):
    return [found.path for found in find_images(given, **options)]


def test_files_as_named_and_the_images_in_folders(tree):
    named = [tree / "notes.txt", tree, tree / "b.png", tree / "missing"]
    expected = ["notes.txt", "a.JPG", "b.png", "g/h.png", "sub/c.webp", "sub/deep/f.gif", "b.png", "missing"]
    assert [os.path.relpath(path, tree) for path in paths(*named)] == expected


def test_paths_are_spelled_as_they_are_given(tree):
    assert paths("./sub", "sub/", "./b.png", "") == [
        *("./sub/c.webp", "./sub/deep/f.gif", "sub/c.webp", "sub/deep/f.gif", "./b.png", "")
    ]


def test_folders_in_folders_can_be_left_alone(tree):
    assert paths(".", "sub", recursive=False) == ["./a.JPG", "./b.png", "sub/c.webp"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["b.png"]),
        ("*", ["a.JPG", "b.png", "g/h.png", "sub/c.webp", "sub/deep/f.gif"]),
        ("?.*", ["a.JPG", "b.png"]),
        ("[ab].*", ["a.JPG", "b.png"]),
        ("*.txt", ["notes.txt"]),
        ("s*", ["sub/c.webp", "sub/deep/f.gif"]),
        ("**", ["./a.JPG", "./b.png", "./g/h.png", "./sub/c.webp", "./sub/deep/f.gif"]),
        ("sub/**", ["sub/c.webp", "sub/deep/f.gif"]),
        ("**/*", ["a.JPG", "b.png", "g/h.png", "sub/c.webp", "sub/deep/f.gif"]),
        ("**/*.[gw]*", ["sub/c.webp", "sub/deep/f.gif"]),
        ("**/**/deep/**/*.gif", ["sub/deep/f.gif"]),
        ("*/?.png", ["g/h.png"]),
        ("sub/.d/*.png", ["sub/.d/e.png"]),
        (".h*", [".hidden.png"]),
        ("./*.png", ["./b.png"]),
    ],
)
def test_patterns(tree, pattern, expected):
    assert paths(pattern) == expected
    at_root = [os.path.normpath(path) for path in paths(os.path.join(tree, pattern))]
    assert at_root == [os.path.normpath(tree / path) for path in expected]


def test_a_file_that_two_parts_of_a_pattern_reach_comes_once(tree):
    (tree / "b" / "b").mkdir(parents=True)
    (tree / "b" / "b" / "x.png").touch()
    assert paths("**/b/**/*.png") == ["b/b/x.png"]


def test_a_pattern_without_an_image_is_a_row(tree):
    assert list(find_images(["*.gif", "g/h.png"])) == [
        Found("*.gif", "no such file, and as a pattern it matches no image"),
        Found("g/h.png"),
    ]


def test_a_file_whose_name_looks_like_a_pattern(tree):
    (tree / "[b].png").touch()
    (tree / "*").mkdir()
    (tree / "*" / "x.png").touch()
    assert paths("[b].png", "*") == ["[b].png", "*/x.png"]


def test_a_folder_that_is_left_out(tree):
    (tree / "link").symlink_to(tree / "sub")
    for named in (".", "**/*", "*"):
        found = {os.path.normpath(path) for path in paths(named, leave_out="link")}
        assert found == {"a.JPG", "b.png", "g/h.png"}
    assert paths("sub/c.webp", leave_out="sub") == ["sub/c.webp"]  # By its name it may be asked for.


def test_links_to_folders_are_not_followed_and_links_to_files_are(tree):
    (tree / "sub" / "round").symlink_to(tree)
    (tree / "sub" / "z.png").symlink_to(tree / "b.png")
    (tree / "sub" / "gone.png").symlink_to(tree / "nowhere")
    assert paths("sub") == ["sub/c.webp", "sub/gone.png", "sub/z.png", "sub/deep/f.gif"]
    (tree / "whole").symlink_to(tree / "g")
    assert paths("whole") == ["whole/h.png"]


def test_what_is_out_of_reach_becomes_a_row_and_stops_nothing(tree, monkeypatch):
    scandir, stat = os.scandir, os.stat

    def refuse(real, name):
        def call(path, *arguments, **options):
            if name in os.fspath(path):
                raise PermissionError(13, "Permission denied", path)
            return real(path, *arguments, **options)

        return call

    monkeypatch.setattr(os, "scandir", refuse(scandir, "sub"))
    assert list(find_images([tree]))[-1] == Found(
        str(tree / "sub"), "a folder that cannot be listed: Permission denied"
    )
    monkeypatch.setattr(os, "stat", refuse(stat, "locked"))
    assert paths(tree / "locked" / "a.png") == [str(tree / "locked" / "a.png")]


def test_paths_are_found_one_at_a_time(tree):
    found = find_images([tree / "g", tree / "sub"])
    assert next(found).path.endswith("h.png")
    (tree / "sub" / "later.png").touch()
    assert [os.path.basename(one.path) for one in found] == ["c.webp", "later.png", "f.gif"]


def lines(content):
    return list(read_list(io.BytesIO(content)))


def test_a_list_of_lines():
    assert lines(b"a.png\nsub/b c.png\r\n\n*.png\nlast") == ["a.png", "sub/b c.png", "*.png", "last"]
    assert lines(b"\xef\xbb\xbfa.png\n") == ["a.png"]
    assert lines(b"") == lines(b"\n\r\n") == []


def test_a_list_with_nul():
    assert lines(b"two\nlines.png\0carriage\r\0\0b.png") == ["two\nlines.png", "carriage\r", "b.png"]


@given(st.lists(st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name), min_size=2))
def test_any_name_comes_through_a_list_with_nul(names):
    assume(not names or not names[0].startswith((b"\xff\xfe", b"\xfe\xff", b"\xff\xd8\xff", b"\x89PNG", b"PK\3\4")))
    assume(len(names) < 4 or sum(map(len, names)) > 2 * len(names))  # Else it may be UTF-16.
    read = lines(b"\0".join(names))
    assert list(map(os.fsencode, read)) == names


def test_a_long_list_is_read_in_blocks():
    names = [f"{number:06d}{'x' * 90}.png" for number in range(3000)]
    for separator in ("\n", "\r\n", "\0"):
        assert lines(separator.join(names).encode()) == names


def test_what_is_no_list_at_all():
    with pytest.raises(DataError, match="is no list of paths"):
        lines(b"x" * (3 << 20))


def test_a_list_on_standard_input(tree):
    given = ["g/h.png", "-", "b.png"]
    stdin = io.BytesIO(b"sub\n*.png\n-\n")
    assert paths(*given, stdin=stdin) == ["g/h.png", "sub/c.webp", "sub/deep/f.gif", "*.png", "-", "b.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are no text exist on Linux alone")
def test_names_that_are_no_text(tree):
    with open(os.fsencode(tree) + b"/g/\xff.png", "wb"):
        pass
    assert [os.fsencode(path) for path in paths("g", "g/*.png")] == [b"g/h.png", b"g/\xff.png"] * 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_lists_in_wide_encodings_are_decoded(encoding, ends):
    paths = ["photos/one.jpg", "photos/zwei Äpfel.jpg", "写真/三.png", "/last"]
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    content = mark + ends.join(["", *paths[:2], "", *paths[2:]]).encode(encoding)
    assert list(read_list(io.BytesIO(content))) == paths
    long = ends.join(f"{number:06d}/äö.jpg" for number in range(30_000))  # Several blocks.
    assert list(read_list(io.BytesIO(mark + long.encode(encoding)))) == long.split(ends)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "photos/one.jpg\nphotos/two.jpg\n".encode("utf-16-le"),
            "looks like UTF-16 without its mark; write it as UTF-8",
        ),
        ("/a/b.jpg\r\n".encode("utf-16-be"), "looks like UTF-16 without its mark"),
        (codecs.BOM_UTF16_LE + b"a\0\0\xd8b\0c\0", "begins like UTF-16 and is not"),
        (codecs.BOM_UTF16_LE + b"a\0b", "begins like UTF-16 and is not"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0/\0", "an image or an archive"),
        (b"PK\x03\x04\0\0/\0", "an image or an archive"),
    ],
)
def test_what_is_no_list_is_never_walked(content, message):
    with pytest.raises(DataError, match=message):
        list(find_images(["-"], stdin=io.BytesIO(content)))


def test_short_names_between_nuls_are_still_a_list():
    assert list(read_list(io.BytesIO(b"a.jpg\0bb.jpg\0c\n1.jpg"))) == ["a.jpg", "bb.jpg", "c\n1.jpg"]


@pytest.mark.parametrize("one", ["photos", b"photos", Path("/photos")])
def test_one_path_is_no_list_of_paths(one):
    with pytest.raises(TypeError, match="several paths; put this one into a list"):
        find_images(one)
