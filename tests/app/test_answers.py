"""What the page answers, without a page."""

import re
from pathlib import Path

import pytest
from PIL import Image

from backmix import OpenSetClassifier
from backmix.app.answers import NO_PICTURE, NO_PICTURES, OUR_FAULT, Answers

COLOURS = {"red": (200, 40, 40), "green": (40, 190, 60), "blue": (50, 60, 200), "grey": (128, 128, 128)}


@pytest.fixture
def answers(trained, tmp_path):
    return Answers(OpenSetClassifier.load(trained), tmp_path, max_pixels=10_000, max_files=4)


def dropped(folder: Path, name: str, colour: str | None = None) -> dict[str, object]:
    """A file as the browser speaks of it; its name on disk is another than where it comes from."""
    path = folder / f"{len(list(folder.iterdir()))}.png"
    if colour is None:
        path.write_bytes(b"no picture")
    else:
        Image.new("RGB", (40, 50), COLOURS[colour]).save(path)
    return {"path": str(path), "orig_name": name}


def test_one_picture(answers, tmp_path):
    seen, card, pictures = answers.one(dropped(tmp_path, "x<y>.png", "red"), 0.95)
    assert seen is not None and seen.answer.top[0][0] == "red"
    assert "x&lt;y&gt;.png" in card and card == answers.card(seen, 0.95) and pictures.count("<img") == 2
    assert str(tmp_path) not in card + pictures


def test_the_share_changes_the_answer_and_not_the_score(answers, tmp_path):
    seen = [answers.one(dropped(tmp_path, "x.png", colour), 0.95)[0] for colour in COLOURS]
    cards = {accept: [answers.card(one, accept) for one in seen] for accept in (0.5, 0.95, 0.999)}
    unknown = {accept: sum("bm-unknown" in card for card in found) for accept, found in cards.items()}
    assert unknown[0.5] >= unknown[0.95] >= unknown[0.999] == 0 and unknown[0.5] > 0
    for found in zip(*cards.values(), strict=True):
        assert len({re.search(r"Unknown score</dt><dd>(\S+)", card)[1] for card in found}) == 1
    assert "bm-warning" in answers.note(0.999) and "bm-warning" not in answers.note(0.5)


def test_nothing_dropped_or_taken_away_again(answers):
    assert answers.one(None, 0.95) == (None, NO_PICTURE, "") and answers.card(None, 0.95) == NO_PICTURE
    assert answers.many(None, 0.95) == ([], NO_PICTURES) and answers.many([], 0.95) == ([], NO_PICTURES)


def test_a_picture_that_cannot_be_used_is_a_message(answers, tmp_path):
    large = tmp_path / "large.png"
    Image.new("RGB", (101, 100)).save(large)
    for file, reason in (
        (dropped(tmp_path, "<b>.png"), "not an image"),
        ({"path": str(large), "orig_name": "<b>.png"}, "101x100 pixels"),
        ({"path": str(tmp_path / "gone"), "orig_name": "<b>.png"}, "drop it again"),
    ):
        seen, card, pictures = answers.one(file, 0.95)
        assert seen is None and pictures == "" and reason in card and "&lt;b&gt;.png cannot be used" in card
        assert "bm-error" in card and str(tmp_path) not in card


def test_a_file_that_was_not_dropped_is_not_opened(answers, trained, capsys):
    outside = {"path": str(trained / "config.yaml"), "orig_name": "x"}
    for said in (answers.one(outside, 0.95)[1], answers.many([outside], 0.95)[1]):
        assert OUR_FAULT in said and str(trained) not in said
    assert "not dropped on this page" in capsys.readouterr().err


def test_what_goes_wrong_in_the_network_is_told_in_the_terminal(answers, tmp_path, capsys):
    answers.classifier.detector = "none"
    seen, card, _ = answers.one(dropped(tmp_path, "x.png", "red"), 0.95)
    assert seen is None and OUR_FAULT in card and "Traceback" in capsys.readouterr().err
    assert OUR_FAULT in answers.many([dropped(tmp_path, "x.png", "red")], 0.95)[1]


def test_many_pictures(answers, tmp_path):
    files = [dropped(tmp_path, "a.png", "red"), dropped(tmp_path, "b.png"), dropped(tmp_path, "c.png", "blue")]
    told = []
    seen, table = answers.many(files, 0.95, on_images=lambda done, of: told.append((done, of)))
    assert [one.answer.path for one in seen] == ["a.png", "b.png", "c.png"] and told == [(3, 3)]
    assert "3 pictures" in table and "1 unreadable" in table and table == answers.table(seen, 0.95)
    assert str(tmp_path) not in table


def test_only_new_files_are_run(answers, tmp_path):
    files = [dropped(tmp_path, "a.png", "red"), dropped(tmp_path, "b.png", "blue")]
    seen, _ = answers.many(files[:1], 0.95)
    told = []
    more, _ = answers.many([*files, files[0]], 0.95, seen, lambda done, of: told.append((done, of)))
    assert told == [(1, 1)] and more[0] is seen[0] is more[2] and more[1].answer.top[0][0] == "blue"
    fewer, table = answers.many(files[1:], 0.95, more, lambda done, of: told.append((done, of)))
    assert fewer == [more[1]] and told == [(1, 1)] and "1 picture:" in table


def test_too_many_files_are_left_out_and_said_so(answers, tmp_path):
    files = [dropped(tmp_path, f"{number}.png", "green") for number in range(6)]
    seen, table = answers.many(files, 0.95)
    assert len(seen) == 4 and "6 files" in table and "the last 2 are left out" in table
