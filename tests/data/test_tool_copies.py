"""Copies of one photo by an annotation tool are one group."""

import itertools

import pytest
import torch
from PIL import Image

from backmix.data.load import load_source
from backmix.data.tool_copies import join_copies, original_of


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("cat12_jpg.rf.0123456789abcdef0123456789abcdef.jpg", "cat12_jpg"),
        ("a.rf.b_png.rf.00000007.jpg", "a.rf.b_png"),
        ("photo-1_jpg.rf.AbC123xyZ_-9.jpeg", "photo-1_jpg"),
        ("cat_original_7.jpg_01234567-89ab-cdef-0123-456789abcdef.jpg", "7.jpg"),
        ("cat.jpg", None),
        ("surf.rf.jpg", None),
        ("my.rf.1.jpg", None),
        ("original_7.jpg", None),
    ],
)
def test_the_name_of_the_photo(name, original):
    assert original_of(name) == original


def test_groups_join_copies_by_name_and_by_look(tmp_path):
    names = [
        "cat/1_jpg.rf.aaaaaaaa",
        "cat/1_jpg.rf.bbbbbbbb",
        "cat/2_jpg.rf.cccccccc",
        "cat/3",
        "dog/1_jpg.rf.dddddddd",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / f"{name}.png")
    source = load_source(tmp_path)
    everything = torch.arange(5)
    by_name, copies = join_copies(source, everything, None)
    assert copies == 2 and together(by_name) == {(0, 1)}  # The photo of the dog is another one of the same name.
    joined, _ = join_copies(source, everything, torch.tensor([0, 1, 1, 2, 3]))
    assert together(joined) == {(0, 1), (0, 2), (1, 2)}
    part, copies = join_copies(source, torch.tensor([1, 2, 3]), None)
    assert part is None and copies == 0


def together(groups):
    pairs = itertools.combinations(range(len(groups)), 2)
    return {(one, other) for one, other in pairs if groups[one] == groups[other]}
