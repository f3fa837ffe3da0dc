"""The page of a study: whole, without anything from elsewhere, and safe with any name."""

import pytest
from study_cells import made_study

from backmix.study.page import write_study_page


@pytest.fixture
def page(tmp_path):
    study = made_study()
    study["setting"]["data"] = {"data": "<script>alert(1)</script>\u202e photos", "known": ["a & b"]}
    return write_study_page(tmp_path / "study.html", study, b"png", ["backmix", "study", "a b<"]).read_text("utf-8")


def test_everything_is_in_it_and_nothing_is_loaded(page):
    assert page.count("data:image/png;base64,") == 5 and "http" not in page.replace('http-equiv="Content', "")
    for text in ("What a prior between object and background does", "plain", "swap, true masks, every image"):
        assert text in page


def test_names_cannot_break_it(page):
    assert "<script" not in page and "\u202e" not in page and "a &amp; b" in page and "&#39;a b&lt;&#39;" in page


def test_unfinished(tmp_path):
    study = made_study() | {"missing": 3}
    study["cells"] = study["cells"][:1]
    text = write_study_page(tmp_path / "study.html", study, None, ["backmix"]).read_text("utf-8")
    assert "3 cells not done yet" in text and 'id="a"' in text and 'id="d"' not in text
