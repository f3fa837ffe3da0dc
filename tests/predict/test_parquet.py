"""Parquet that says the same as JSON Lines."""

import json
import sys

import pytest
from predict_colours import prediction

from backmix.errors import BackmixError, TrainingError
from backmix.predict import parquet as predict_parquet
from backmix.predict.parquet import need_pyarrow, write_parquet
from backmix.prediction.answer import Prediction
from backmix.prediction.rows import json_row

pq = pytest.importorskip("pyarrow.parquet")


def write(folder, answers):
    lines = folder / "answers.parquet.part"
    lines.write_bytes(b"".join(json_row(answer) + b"\n" for answer in answers))
    write_parquet(lines, folder / "answers.parquet")
    return pq.ParquetFile(folder / "answers.parquet"), lines


@pytest.mark.parametrize("rows", [1, 2, 1000])
def test_it_holds_the_rows_in_groups(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(predict_parquet, "ROWS", rows)
    answers = [prediction('<b>\n"ü".png'), Prediction("b.png", error="no such file"), prediction("c", "unknown", 1e300)]
    file, lines = write(tmp_path, answers)
    assert file.num_row_groups == -(-3 // rows)
    expected = [json.loads(line) for line in lines.read_text().splitlines()]
    for row in expected:
        row["top"] = [{"class": name, "probability": value} for name, value in row["top"]]
    assert file.read().to_pylist() == expected
    assert list(file.schema_arrow.names) == ["path", "label", "unknown_score", "p_value", "top", "error"]


def test_no_rows_are_a_file_as_well(tmp_path):
    assert write(tmp_path, [])[0].read().num_rows == 0


def test_half_a_character_is_spelled_out(tmp_path):
    file, _ = write(tmp_path, [prediction("a", "\ud800x", top=[("\ud800x", 1.0)])])
    (row,) = file.read().to_pylist()
    assert row["label"] == row["top"][0]["class"] == r"\ud800x"


def test_an_old_file_stays_when_a_new_one_cannot_be_written(tmp_path, monkeypatch):
    write(tmp_path, [prediction()])
    before = (tmp_path / "answers.parquet").read_bytes()

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(TrainingError, match="No space left"):
        write(tmp_path, [prediction("b")])
    assert (tmp_path / "answers.parquet").read_bytes() == before


def test_without_pyarrow_it_says_what_to_install(monkeypatch):
    need_pyarrow()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(BackmixError, match=r'pip install "backmix\[data\]"'):
        need_pyarrow()
