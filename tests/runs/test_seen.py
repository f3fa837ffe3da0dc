"""What a run was trained on is found again by content, whatever the files are called, and by name where it must be."""

import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from backmix.data.load import load_source
from backmix.runs.held_out import Share, Shares, write_shares
from backmix.runs.seen import FILE, Seen, find_seen, write_seen


@pytest.fixture
def photos(tmp_path):
    for number in range(12):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), number * 20, np.uint8)).save(path)
    return tmp_path / "photos"


def seen_of(run, folder, split=None):
    source = load_source(folder, split, few=True)
    return find_seen(run, source, torch.arange(len(source)), str(folder), split)


def test_copies_under_other_names_are_found(photos, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    source = load_source(photos)
    write_seen(run, source, torch.arange(6), source, torch.arange(6, 9))
    assert seen_of(run, photos) == Seen(6, 3)
    moved = tmp_path / "elsewhere"
    for position in (0, 7, 11):
        (moved / "other").mkdir(parents=True, exist_ok=True)
        shutil.copy(source.path(position), moved / "other" / f"copy of {position}.png")
    assert seen_of(run, moved) == Seen(1, 1)
    (moved / "other" / "broken.png").write_bytes(b"x")
    assert seen_of(run, moved) == Seen(1, 1)


def test_a_run_that_knows_only_names_counts_by_name_and_place(photos, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    write_shares(run, Shares(str(photos), Share(None, ["a/0.png", "b/1.png"]), Share(None, ["b/3.png"])))
    assert seen_of(run, photos) == Seen(9, 2)
    shutil.copytree(photos, tmp_path / "copy")
    assert seen_of(run, tmp_path / "copy") == Seen(0, 0)
    (run / FILE).write_text("{")  # A damaged file is like none.
    assert seen_of(run, photos) == Seen(9, 2)


def test_a_run_without_names_knows_its_split(photos, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump({"format": 1, "arguments": {"data": str(photos)}}))
    assert seen_of(run, photos) == Seen(None, 0)


def test_drawn_images_are_not_hashed(tmp_path):
    digits = load_source("digits", "train")
    write_seen(tmp_path, digits, torch.arange(4), digits, torch.arange(2))
    assert not (tmp_path / FILE).exists()
