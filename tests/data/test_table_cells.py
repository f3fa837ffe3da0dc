from pathlib import Path

import pytest

from backmix.data.table_cells import encoded_image, shown
from backmix.errors import DataError


def test_bytes_win_over_a_path():
    assert encoded_image(b"x", []) == b"x"
    assert encoded_image({"bytes": b"x", "path": "/etc/passwd"}, []) == b"x"


def test_a_path_begins_at_the_first_folder_and_stays_in_any(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert encoded_image({"bytes": None, "path": "a.png"}, [one, two]) == one / "a.png"
    assert encoded_image({"bytes": None, "path": str(two / "a.png")}, [one, two]) == two / "a.png"
    for path in ("../three/a.png", "..", str(tmp_path), "one/../../a.png", str(tmp_path / "one-more" / "a.png")):
        with pytest.raises(DataError, match="leads out of"):
            encoded_image({"bytes": None, "path": path}, [one, two])


def test_a_folder_that_is_a_link_itself_is_the_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert encoded_image({"path": "a.png"}, [tmp_path / "link"]) == (tmp_path / "real" / "a.png").resolve()


@pytest.mark.parametrize("cell", [None, {"bytes": None, "path": None}, {}])
def test_no_image(cell):
    with pytest.raises(DataError, match="the row has no image"):
        encoded_image(cell, [Path()])


def test_without_a_folder_no_file_is_opened():
    with pytest.raises(DataError, match="files are not opened for this table"):
        encoded_image({"bytes": None, "path": "a.png"}, [])


def test_paths_are_shown_short_and_in_one_line():
    assert shown("Bär 1.png") == "Bär 1.png"
    assert shown("a\x1b[2J\n.png") == r"'a\x1b[2J\n.png'"
    assert len(shown("x" * 5000)) == 103
