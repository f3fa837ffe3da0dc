"""`backmix report`: where the page is written and what is said."""

import sys

import pytest

from backmix import cli
from backmix.cli.report_command import report_command


def test_it_says_where_the_page_is(trained, tmp_path, capsys):
    file = report_command(trained, out=tmp_path / "deep" / "page.html")
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert f"written to {file}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["page.pdf", "page", "page.html.txt"])
def test_other_files_than_pages_are_refused_before_any_work(name, tmp_path):
    with pytest.raises(ValueError, match="takes an .html file"):
        report_command(tmp_path / "no run", out=tmp_path / name)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "page.html").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        report_command(tmp_path / "no run", out=tmp_path / "page.html")


def typed(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["backmix", "report", *map(str, words)])
    capsys.readouterr()
    try:
        cli.main()
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    return status, capsys.readouterr()


def test_the_command_line_passes_everything_on(trained, pictures, tmp_path, monkeypatch, capsys):
    words = [trained, "--data", pictures, "--split", "train", "--unknown", pictures, "--unknown-split", "test"]
    status, _ = typed(monkeypatch, capsys, *words, "--out", tmp_path / "page.htm", "--workers", "1")
    assert status == 0
    text = (tmp_path / "page.htm").read_text(encoding="utf-8")
    assert "split \u2068train\u2069" in text and f"18 images of \u2068{pictures.name}\u2069 were left out" in text


def test_an_error_is_one_line(tmp_path, monkeypatch, capsys):
    status, said = typed(monkeypatch, capsys, tmp_path / "nothing")
    assert status == 1 and said.out == "" and said.err.startswith("backmix: ") and len(said.err.splitlines()) == 1
