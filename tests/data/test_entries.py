"""What lies in a folder, without what nobody put there."""

import os

import pytest
from PIL import Image

from backmix.data.entries import (
    folders_in,
    holds_folders,
    holds_folders_alone,
    holds_images,
    images_in,
    is_passed_over,
    walk,
)
from backmix.errors import DataError


@pytest.fixture
def tree(tmp_path):
    for path in ("cat/2.png", "cat/10.PNG", "cat/notes.txt", "cat/@eaDir/x.png", "only/in/1.png", "empty/.x.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / path, "PNG")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [".git", "__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "Lost+Found", "Thumbs.db", "System Volume Information"],
)
def test_entries_of_systems_are_passed_over(name):
    assert is_passed_over(name) and not is_passed_over(f"a {name}") and not is_passed_over("recycle")


def test_what_a_folder_holds(tree):
    assert folders_in(tree) == ["cat", "empty", "only"] and images_in(tree / "cat") == ["2.png", "10.PNG"]
    found = {name: (holds_images(tree / name), holds_folders(tree / name)) for name in folders_in(tree)}
    assert found == {"cat": (True, False), "empty": (False, False), "only": (False, True)}
    assert [name for name in folders_in(tree) if holds_folders_alone(tree / name)] == ["only"]
    with pytest.raises(DataError, match="nowhere cannot be listed: No such file"):
        holds_images(tree / "nowhere")


def test_a_walk_can_leave_folders_out(tree):
    assert list(walk(tree, "t")) == ["t/cat/2.png", "t/cat/10.PNG", "t/cat/notes.txt", "t/only/in/1.png"]
    assert list(walk(tree, "t", frozenset(["t/cat"]))) == ["t/only/in/1.png"]
    os.symlink(tree, tree / "only" / "in" / "round")
    assert list(walk(tree, "t", frozenset(["t/cat"]))) == ["t/only/in/1.png"]
