"""What a run held out: by name, found again in a folder that has moved or grown, and missed where it is gone."""

import json

import pytest
from command_folders import colour

from backmix.data import load_source
from backmix.data.folder import image_key
from backmix.data.load import absolute
from backmix.errors import DataError, RunError
from backmix.runs.held_out import Share, Shares, open_share, read_shares, write_shares


@pytest.fixture
def photos(tmp_path):
    for name in ("cat", "dog"):
        for number in range(4):
            colour(tmp_path / "photos" / name / f"{number}.png", (9, 9, 9))
    return tmp_path / "photos"


def test_there_and_back(photos, tmp_path):
    source = load_source(photos)
    names = [image_key(source, i) for i in (6, 1)]
    assert names == ["dog/2.png", "cat/1.png"]
    shares = Shares(absolute(str(photos)), Share(None, names), Share())
    write_shares(tmp_path, shares)
    assert read_shares(tmp_path) == shares
    found = open_share(shares, shares.calibration)
    assert [found.name(i) for i in range(2)] == [source.name(i) for i in (6, 1)] and found.labels.tolist() == [1, 0]
    assert len(open_share(shares, shares.test)) == 8


def test_a_folder_that_moved_and_grew(photos, tmp_path):
    shares = Shares(str(photos), Share(None, ["dog/2.png"]), Share())
    colour(photos / "ant" / "1.png", (1, 1, 1))
    moved = photos.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="the run's own images cannot be opened: there is no .*--moved-to DATA"):
        open_share(shares, shares.calibration)
    found = open_share(shares, shares.calibration, data=str(moved))
    assert found.name(0) == str(moved / "dog" / "2.png") and found.classes[int(found.labels[0])] == "dog"
    (moved / "dog" / "2.png").unlink()
    with pytest.raises(DataError, match=r"1 of 1 held-out images are not in .*moved any more, the first is dog/2.png"):
        open_share(shares, shares.calibration, data=str(moved))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"data": "x", "calibration": 1, "test": {}}',
        '{"data": "x", "calibration": {"a": 1}, "test": {}}',
        '{"data": "x", "calibration": {"images": [1]}, "test": {}}',
        '{"data": "x", "calibration": {"images": 1000000000000}, "test": {}}',
        '{"data": "x", "calibration": {"images": "abc"}, "test": {}}',
        '{"data": "x", "calibration": {"split": 1000000000000}, "test": {}}',
        '{"data": 1000000000000, "calibration": {}, "test": {}}',
        "[" * 100_000,
        '{"data": ' + "9" * 5000 + "}",
    ],
)
def test_a_file_that_says_nothing(tmp_path, content):
    (tmp_path / "held-out.json").write_text(content)
    with pytest.raises(RunError, match="held-out.json cannot be read.*as DATA"):
        read_shares(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(RunError, match="does not say which images it held out"):
        read_shares(tmp_path)


def test_paths_become_absolute_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert absolute("photos") == str(tmp_path / "photos")
    assert absolute("owner/name") == "owner/name" and absolute("digits:prior=0.8") == "digits:prior=0.8"
    assert json.loads(json.dumps(absolute("photos"))) == str(tmp_path / "photos")


def test_other_data_is_numbered():
    digits = load_source("digits", "test")
    shares = Shares("digits", Share("test", ["5", "0"]), Share())
    assert image_key(digits, 5) == "5"
    found = open_share(shares, shares.calibration)
    assert [found.name(i) for i in range(2)] == [digits.name(5), digits.name(0)]


def test_data_of_the_hub_is_asked_for_only_when_a_person_names_it(tmp_path, monkeypatch):
    """The file of a stranger's run may name any data set, and the request carries the user's token."""
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr("backmix.data.load.HubSource", lambda name, split, config=None: asked.append(name) or "images")
    for name in ("owner/name", "hub:owner/name", "owner/name:config"):
        write_shares(tmp_path, Shares(name, Share("test"), Share("test")))
        shares = read_shares(tmp_path)
        with pytest.raises(DataError, match=f"asked only for what you name yourself: --moved-to {name}$"):
            open_share(shares, shares.test)
        assert not asked
    assert open_share(read_shares(tmp_path, "other/set"), Share("test")) == "images" and asked == ["other/set"]
    text = (tmp_path / "held-out.json").read_text()
    assert "typed" not in text
    (tmp_path / "held-out.json").write_text(text.replace("{", '{"typed": true,', 1))
    with pytest.raises(DataError, match="asked only for"):  # The file cannot say that a person has named it.
        open_share(read_shares(tmp_path), Share("test"))


def test_a_file_larger_than_any_of_ours_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("backmix.runs.limits.MAX_TEXT", 2**20)
    (tmp_path / "held-out.json").write_text('{"data": "' + "a" * 2**20 + '"}')
    with pytest.raises(RunError, match="held-out.json is larger than 1 MiB"):
        read_shares(tmp_path)
