"""Folders of what was answered: nothing moved, nothing written over, nothing outside."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from predict_colours import prediction

from backmix.predict.journal import Journal, OutputError, digest
from backmix.predict.sort import Link, Sorter, folder_names
from backmix.prediction.answer import Prediction

CLASSES = ["red", "../up", "con", "a/b"]


@pytest.fixture
def images(tmp_path):
    """Three files of one name in three folders."""
    paths = []
    for folder in ("one", "two", "three"):
        path = tmp_path / "photos" / folder / "img.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(folder.encode() * 100_000)
        os.utime(path, (10**9, 10**9))
        paths.append(path)
    return paths


@pytest.fixture
def into(tmp_path):
    return tmp_path / "sorted"


@pytest.fixture
def sorter(tmp_path, into):
    """Make a sorter, as a session does, whose journal goes on with that of the one before."""
    journals = []

    def make(link=Link.copy):
        for journal in journals:
            journal.close()
        journals.append(Journal(tmp_path / "answers.csv.progress"))
        if journals[-1].settings is None:
            journals[-1].begin({})
        return Sorter(into, CLASSES, link, journals[-1])

    yield make
    journals[-1].close()


def put(sorter, *items):
    for path, label in items:
        answer = Prediction(str(path), error="broken") if label is None else prediction(str(path), label)
        sorter.put(str(path), answer)


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_copies_lie_in_the_folder_of_their_answer(images, into, sorter):
    before = [path.read_bytes() for path in images]
    put(sorter(), (images[0], "red"), (images[1], "unknown"), (images[2], "red"))
    assert tree(into) == ["red/img (2).jpg", "red/img.jpg", "unknown/img.jpg"]
    assert (into / "red" / "img.jpg").read_bytes() == before[0] and not (into / "red" / "img.jpg").is_symlink()
    assert (into / "red" / "img (2).jpg").read_bytes() == before[2]
    assert (into / "red" / "img.jpg").stat().st_mtime == 10**9
    assert [path.read_bytes() for path in images] == before


def test_links(images, into, sorter, monkeypatch):
    monkeypatch.chdir(images[0].parent)
    put(sorter(Link.symbolic), ("img.jpg", "red"), (images[1], "red"))
    put(sorter(Link.hard), (images[2], "unknown"))
    assert (into / "red" / "img.jpg").readlink() == images[0]
    assert (into / "red" / "img (2).jpg").resolve() == images[1]
    assert (into / "unknown" / "img.jpg").samefile(images[2]) and images[2].stat().st_nlink == 2


def test_what_is_there_is_never_written_over(images, into, sorter):
    (into / "red").mkdir(parents=True)
    (into / "red" / "img.jpg").write_text("mine")
    (into / "red" / "img (2).jpg").symlink_to(into / "nowhere")
    put(sorter(), *((path, "red") for path in images))
    assert tree(into / "red") == [f"img ({number}).jpg" for number in (2, 3, 4, 5)] + ["img.jpg"]
    assert (into / "red" / "img.jpg").read_text() == "mine" and not (into / "nowhere").exists()


def test_a_name_that_somebody_takes_at_that_moment(images, into, sorter, monkeypatch):
    taken = []
    real = Journal.add_copy

    def take(journal, path, target):
        real(journal, path, target)
        if not taken:
            (into / target).write_text("theirs")
        taken.append(target)

    monkeypatch.setattr(Journal, "add_copy", take)
    put(sorter(), (images[0], "red"))
    assert taken == ["red/img.jpg", "red/img (2).jpg"] and (into / taken[0]).read_text() == "theirs"
    put(sorter(), (images[0], "red"))  # Killed before it had a row: the one is made anew, the other is not ours.
    assert (into / taken[0]).read_text() == "theirs" and tree(into) == ["red/img (2).jpg", "red/img.jpg"]


def test_unreadable_images_stay_where_they_are(images, into, sorter):
    put(sorter(), (images[0], None))
    assert not into.exists()


@pytest.mark.parametrize("link", list(Link))
def test_images_that_are_gone_are_counted(images, into, sorter, link):
    images[0].unlink()
    one = sorter(link)
    put(one, (images[0], "red"), (images[1], "red"))
    if link is Link.symbolic:  # It points to where the image was.
        assert one.gone == 0 and len(tree(into)) == 2
    else:
        assert one.gone == 1 and tree(into) == ["red/img.jpg"]
        assert (into / "red" / "img.jpg").read_bytes() == images[1].read_bytes()


@pytest.mark.parametrize("link", list(Link))
@pytest.mark.parametrize("label", ["red", "unknown"])
def test_what_killed_sessions_made_is_not_doubled(images, into, sorter, link, label):
    put(sorter(link), (images[0], "red"), (images[1], "red"))
    if link is Link.copy:
        with open(into / "red" / "img (2).jpg", "r+b") as file:
            file.truncate(1000)
    put(sorter(link), (images[0], label))
    put(sorter(link), *((path, label) for path in images))
    assert tree(into) == sorted(f"{label}/img{number}.jpg" for number in ("", " (2)", " (3)"))
    contents = [(into / label / f"img{number}.jpg").read_bytes() for number in ("", " (2)", " (3)")]
    assert sorted(contents) == sorted(path.read_bytes() for path in images)


def test_what_has_a_row_stays(images, into, sorter):
    first = sorter()
    put(first, (images[0], "red"), (images[0], "red"))
    first._journal.add_rows([(1, 0, digest(str(images[0])), "known")])
    put(sorter(), (images[0], "red"))  # Given twice, and the second one had no row yet.
    assert tree(into) == ["red/img (2).jpg", "red/img.jpg"]


@pytest.mark.parametrize("target", ["red/img.jpg", "../photos/one/img.jpg", "other/img.jpg", "red/", "", "."])
def test_what_is_not_ours_is_not_removed(images, into, sorter, target):
    (into / "red").mkdir(parents=True)
    (into / "other").mkdir()
    (into / "red" / "img.jpg").write_text("mine, and no copy of it")
    (into / "other" / "img.jpg").write_bytes(images[0].read_bytes())
    sorter()._journal.add_copy(str(images[0]), target)
    put(sorter(), (images[0], "red"))
    assert (into / "red" / "img.jpg").read_text() == "mine, and no copy of it" and images[0].exists()
    assert tree(into) == ["other/img.jpg", "red/img (2).jpg", "red/img.jpg"]


def test_class_names_stay_within_the_folder(images, into, sorter):
    put(sorter(), *((images[0], name) for name in CLASSES))
    assert tree(into) == ["_._up/img.jpg", "a_b/img.jpg", "con_/img.jpg", "red/img.jpg"]


def test_folder_names():
    expected = {
        "unknown": "unknown",
        "..": "_",
        ".": "_ (2)",
        "": "_ (3)",
        "cat": "cat",
        "Cat": "Cat (2)",
        "unknown.": "unknown (2)",
        "UNKNOWN": "UNKNOWN (3)",
        "a\\b": "a_b",
        "a\nb": "a_b (2)",
        "nul.txt": "nul.txt_",
        "x" * 300: "x" * 200,
        "\u202egnp": "_gnp",
        "\u00e9": "\u00e9",
        "e\u0301": "\u00e9 (2)",
        "answers.csv": "answers.csv (2)",
        "\ud800": "_ (4)",
        "  ": "_ (5)",
        ".hidden": "_hidden",
    }
    assert folder_names([name for name in expected if name != "unknown"]) == expected


@given(st.lists(st.text(), max_size=8, unique=True))
def test_folder_names_are_folders_of_their_own(classes):
    names = folder_names([name for name in classes if name != "unknown"])
    assert len({name.casefold() for name in names.values()}) == len(names)
    for name in names.values():
        assert name and not set(name) & set("/\\") and not name.startswith(".") and len(os.fsencode(name)) < 256
        assert Path("base", name).parent == Path("base") and name.isprintable() and name == name.rstrip(". ")


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are no text exist on Linux alone")
def test_file_names_that_are_long_or_no_text(tmp_path, into, sorter):
    longest = "x" * 251 + ".jpg"
    odd = os.fsdecode(b"\xff\n=.jpg")
    dotted = "a." + "y" * 253
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for name in (longest, odd, dotted):
            (tmp_path / folder / name).write_text(folder)
    one = sorter()
    put(one, *((tmp_path / folder / name, "red") for folder in ("one", "two") for name in (longest, odd, dotted)))
    expected = {longest, "x" * 247 + " (2).jpg", odd, os.fsdecode(b"\xff\n= (2).jpg"), dotted, dotted[:251] + " (2)"}
    assert set(os.listdir(into / "red")) == expected


def test_many_of_one_name_take_no_time(tmp_path, into, sorter):
    path = tmp_path / "img.jpg"
    path.touch()
    one = sorter()
    calls = 0
    real = os.path.lexists

    def counted(given):
        nonlocal calls
        calls += 1
        return real(given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os.path, "lexists", counted)
        put(one, *[(path, "red")] * 50)
    assert len(tree(into)) == 50 and calls <= 150


def test_a_folder_that_cannot_be_made(images, into, sorter):
    into.write_text("a file")
    with pytest.raises(OutputError, match="could not put an image into .*--resume"):
        put(sorter(), (images[0], "red"))


def test_a_hard_link_over_file_systems_says_what_helps(images, into, sorter, monkeypatch):
    def across(*arguments, **options):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", across)
    with pytest.raises(OutputError, match="Invalid cross-device link.*--link copy"):
        put(sorter(Link.hard), (images[0], "red"))
