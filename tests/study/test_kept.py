"""Which cells study.json keeps, and which of them need not be measured again."""

from study_cells import made_cell

from backmix.files import write_json
from backmix.study.cell import Cell
from backmix.study.kept import is_done, read_cells, whole
from backmix.version import __version__


def test_a_cell_without_estimated_masks_is_not_done_where_these_are_asked_for():
    plain, estimated = Cell("plain", 0.8, 0), Cell("plain", 0.8, 0, estimated=True)
    assert is_done(plain, [made_cell(plain)]) and not is_done(estimated, [made_cell(plain)])
    assert is_done(plain, [made_cell(estimated)]) and is_done(estimated, [made_cell(estimated)])
    assert is_done(estimated, [{**plain.key(), "left_out": True}])
    assert not is_done(Cell("plain", 0.8, 1), [made_cell(plain)]) and not is_done(plain, [])


def test_what_is_kept_is_read_again_for_other_parts_too(tmp_path):
    cells = [Cell("plain", 0.8, 0), Cell("patch", 0.8, 0)]
    study = whole({"model": "m", "parts": ["b"]}, [made_cell(cells[0])], cells)
    assert (study["backmix"], study["missing"]) == (__version__, 1)
    assert read_cells(tmp_path / "study.json", study["setting"]) == []
    write_json(tmp_path / "study.json", study)
    assert read_cells(tmp_path / "study.json", {"model": "m", "parts": ["d"]}) == study["cells"]
