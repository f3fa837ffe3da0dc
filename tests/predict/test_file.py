"""A file of answers that stands a kill at any byte."""

import csv
import errno
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from predict_colours import prediction

from backmix.predict import file as predict_file
from backmix.predict.file import AnswerFile
from backmix.predict.journal import OutputError
from backmix.predict.paths import Found
from backmix.prediction.answer import Prediction

KINDS = ["csv", "jsonl", "json", "parquet"]
SETTINGS = {"model": "abc", "top": 3}
# Awkward ones among them, and one path twice.
PATHS = ["a.png", "caf\udce9.png", r"caf\xe9.png", 'two\nlines,"x".png', "=1.png", "a.png", "ü.png"]


def answer_of(number, path):
    spelled = os.fsencode(path).decode("utf-8", "backslashreplace")
    if number % 3 == 2:
        return Prediction(spelled, error="empty (0 bytes)")
    return prediction(spelled, ["red", "unknown"][number % 2], number / 7)


def open_file(out, kind, *, resume=False, overwrite=False, **changes):
    return AnswerFile(out, kind, {**SETTINGS, **changes}, resume=resume, overwrite=overwrite)


def add(file, numbers, paths=PATHS):
    for number in numbers:
        file.add(Found(paths[number]), answer_of(number, paths[number]))


def rows_of(out, kind):
    if kind == "csv":
        return [row["path"] for row in csv.DictReader(io.StringIO(out.read_bytes().decode(), newline=""))]
    if kind == "json":
        return [row["path"] for row in json.loads(out.read_text())]
    if kind == "jsonl":
        return [json.loads(line)["path"] for line in out.read_text().splitlines()]
    pq = pytest.importorskip("pyarrow.parquet")
    return pq.read_table(out).column("path").to_pylist()


def whole_file(folder, kind, paths=PATHS):
    out = folder / f"whole.{kind}"
    file = open_file(out, kind, overwrite=True)
    add(file, range(len(paths)), paths)
    file.close(complete=True)
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_a_complete_file_lies_alone(tmp_path, kind):
    out = whole_file(tmp_path / "new folder", kind)
    assert os.listdir(out.parent) == [out.name]
    spelled = [answer_of(0, path).path for path in PATHS]
    assert rows_of(out, kind) == [("'" + path if kind == "csv" and path[0] == "=" else path) for path in spelled]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [0, 1, 4])
def test_stopped_it_is_valid_and_gone_on_with_it_is_the_same(tmp_path, kind, first):
    expected = whole_file(tmp_path, kind)
    out = tmp_path / f"answers.{kind}"
    file = open_file(out, kind)
    add(file, range(first))
    file.close(complete=False)
    assert len(rows_of(out, kind)) == first
    file = open_file(out, kind, resume=True)
    assert file.resumed == first and file.counts.total() == first
    left = [number for number, path in enumerate(PATHS) if not file.answered.take(path)]
    if first != 1:  # The path that comes twice has a row already, and which of the two is all the same.
        assert left == list(range(first, len(PATHS)))
    add(file, range(first, len(PATHS)))
    assert file.counts == {"known": 3, "unknown": 2, "error": 2}
    file.close(complete=True)
    assert rows_of(out, kind) == rows_of(expected, kind)
    if kind != "parquet":
        assert out.read_bytes() == expected.read_bytes()
    assert sorted(os.listdir(tmp_path)) == sorted([out.name, expected.name])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """By kind: the rows and the journal as they are before anything is closed, and the file when it is complete."""
    folder = tmp_path_factory.mktemp("written")
    found = {}
    for kind in KINDS:
        out = folder / f"answers.{kind}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(predict_file, "SAFE_EVERY", 0.0)
            file = open_file(out, kind)
            add(file, range(len(PATHS)))
        rows = out.with_name(out.name + ".part") if kind == "parquet" else out
        begun = (rows.read_bytes(), out.with_name(out.name + ".progress").read_bytes())
        file.close(complete=True)
        found[kind] = (*begun, rows_of(out, kind))
    return found


@given(data=st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_killed_anywhere_no_row_is_missing_and_none_double(written, tmp_path, data):
    kind = data.draw(st.sampled_from(KINDS))
    rows, journal, expected = written[kind]
    out = tmp_path / "killed" / f"answers.{kind}"
    shutil.rmtree(out.parent, ignore_errors=True)
    out.parent.mkdir()
    kept = journal[: data.draw(st.integers(0, len(journal)))]
    out.with_name(out.name + ".progress").write_bytes(kept)
    # The rows are on the disk before the journal says so; what comes after them may be there, or half of it.
    lines = [json.loads(line) for line in kept.splitlines(keepends=True)[1:] if line.endswith(b"\n")]
    end = max((line[1] for line in lines), default=0)
    there = data.draw(st.integers(end, len(rows)))
    if there or data.draw(st.booleans()):
        (out.with_name(out.name + ".part") if kind == "parquet" else out).write_bytes(rows[:there])
    file = open_file(out, kind, resume=True)
    assert file.resumed == len(lines)
    left = [number for number, path in enumerate(PATHS) if not file.answered.take(path)]
    assert len(left) == len(PATHS) - len(lines)
    add(file, range(len(lines), len(PATHS)))
    file.close(complete=True)
    assert rows_of(out, kind) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_resume_with_nothing_there_begins(tmp_path, kind):
    out = tmp_path / f"answers.{kind}"
    file = open_file(out, kind, resume=True)
    add(file, range(2))
    file.close(complete=True)
    assert len(rows_of(out, kind)) == 2


def test_nothing_is_written_over_unasked(tmp_path):
    out = tmp_path / "answers.csv"
    out.write_text("my table")
    for resume in (False, True):
        with pytest.raises(OutputError, match=r"answers\.csv exists, and there is no answers\.csv\.progress"):
            open_file(out, "csv", resume=resume)
    assert out.read_text() == "my table" and os.listdir(tmp_path) == ["answers.csv"]
    file = open_file(out, "csv", overwrite=True)
    add(file, [0])
    file.close(complete=False)
    with pytest.raises(OutputError, match="--resume goes on with it, --overwrite begins again"):
        open_file(out, "csv")
    file = open_file(out, "csv", overwrite=True)
    file.close(complete=True)
    assert rows_of(out, "csv") == []


@pytest.mark.parametrize("change", [{"model": "def"}, {"top": 5}, {"more": "x"}])
def test_other_settings_are_refused(tmp_path, change):
    out = tmp_path / "answers.csv"
    file = open_file(out, "csv")
    add(file, range(3))
    file.close(complete=False)
    before = out.read_bytes()
    (name, value) = next(iter(change.items()))
    with pytest.raises(OutputError, match=f"other settings .{name}: .* then, {value} now"):
        open_file(out, "csv", resume=True, **change)
    with pytest.raises(OutputError, match="format: csv then, jsonl now"):
        open_file(out, "jsonl", resume=True)
    assert out.read_bytes() == before
    open_file(out, "csv", resume=True).close(complete=False)  # The lock is not left behind.


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_that_were_altered_are_refused(tmp_path, kind):
    out = tmp_path / f"answers.{kind}"
    file = open_file(out, kind)
    add(file, range(3))
    file.close(complete=False)
    rows = out.with_name(out.name + ".part") if kind == "parquet" else out
    content = rows.read_bytes()
    for other in (content.replace(b"red", b"rad"), content[:20], b""):
        rows.write_bytes(other)
        with pytest.raises(OutputError, match=f"{rows.name} was altered"):
            open_file(out, kind, resume=True)
        assert rows.read_bytes() == other
    rows.unlink()
    with pytest.raises(OutputError, match=f"{rows.name} is gone"):
        open_file(out, kind, resume=True)


def test_rows_become_safe_as_time_passes(tmp_path, monkeypatch):
    out = tmp_path / "answers.csv"
    file = open_file(out, "csv")
    progress = Path(f"{out}.progress")
    add(file, range(3))
    assert len(progress.read_bytes().splitlines()) == 1 and len(rows_of(out, "csv")) == 3
    monkeypatch.setattr(predict_file, "SAFE_EVERY", 0.0)
    add(file, [3])
    assert len(progress.read_bytes().splitlines()) == 5
    file.close(complete=False)


def test_a_full_disk_leaves_a_valid_file(tmp_path, monkeypatch):
    out = tmp_path / "answers.json"
    file = open_file(out, "json")
    add(file, range(3))
    real = predict_file.write_all

    def full(target, data):
        target.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(predict_file, "write_all", full)
    with pytest.raises(OutputError, match=r"could not write .*: No space left on device.*--resume"):
        add(file, [3])
    monkeypatch.setattr(predict_file, "write_all", real)
    file.close(complete=False)
    assert len(rows_of(out, "json")) == 3
    file = open_file(out, "json", resume=True)
    add(file, range(3, len(PATHS)))
    file.close(complete=True)
    assert len(rows_of(out, "json")) == len(PATHS)


def test_a_folder_nobody_may_write(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="could not write"):
        open_file(tmp_path / "file" / "answers.csv", "csv")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_a_row_can_be_withdrawn(tmp_path, kind):
    out = tmp_path / f"answers.{kind}"
    for rows in (0, 2):
        file = open_file(out, kind)
        add(file, range(rows))
        file.close(complete=False)
        file.withdraw()
        assert any(tmp_path.iterdir()) == bool(rows)
    open_file(out, kind, resume=True).close(complete=True)
    assert len(rows_of(out, kind)) == 2
